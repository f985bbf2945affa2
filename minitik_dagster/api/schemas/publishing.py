"""Bodies of `/api/publishing`: the state of a content's posts, and what `validate` found."""

from typing import Any, Literal, Self

from minitik_dagster.api.schemas.base import FieldView, Instant, View
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import ContentStatus, Platform, PublicationStatus
from minitik_dagster.publishing.rollback import Outcome, RolledBack
from minitik_dagster.scheduling.progress import ContentProgress, PublicationView, StepView
from minitik_dagster.scheduling.rules import Examination

ReviewState = Literal["asking", "needed"]
_REVIEW_OF: dict[Stage, ReviewState] = {Stage.UNKNOWN: "asking", Stage.REVIEW: "needed"}


class StepAnswer(View):
    """One line of the ledger. `message` is the platform's own words, where it gave any."""

    name: str
    attempt: int
    started_at: Instant
    ended_at: Instant | None
    outcome: str | None
    platform_code: str | None
    message: str | None
    request_id: str | None

    @classmethod
    def of(cls, step: StepView) -> Self:
        """Show a step."""
        return cls.model_validate(step, from_attributes=True)


class ErrorAnswer(View):
    """Why a post failed or waits, in plain words, and what to do."""

    code: str
    reason: str
    fix: str | None


class PublicationAnswer(View):
    """One account's post: `acceptedAt` and `verifiedAt` are two facts.

    `latenessMs` is from the due instant to the first byte of the call that published. `reviewState`:
    `asking` while the platform is asked what became of a lost answer, `needed` when a person decides.
    """

    id: str
    account_id: str
    platform: Platform
    status: PublicationStatus
    stage: Stage
    due_at: Instant | None
    committed_at: Instant | None
    accepted_at: Instant | None
    verified_at: Instant | None
    lateness_ms: int | None
    platform_post_id: str | None
    permalink: str | None
    attempts: int
    next_attempt_at: Instant | None
    hold_reason: str | None
    review_state: ReviewState | None
    error: ErrorAnswer | None
    steps: list[StepAnswer]

    @classmethod
    def of(cls, view: PublicationView) -> Self:
        """Show a publication with its ledger."""
        row = view.publication
        error = None
        if row.error or row.error_code:
            error = ErrorAnswer(
                code=row.error_code or "legacy",
                reason=row.error or row.error_code or "",
                fix=row.error_fix,
            )
        return cls(
            id=row.id,
            account_id=row.account_id,
            platform=row.platform,
            status=row.status,
            stage=view.stage,
            due_at=row.due_at,
            committed_at=row.committed_at,
            accepted_at=row.accepted_at,
            verified_at=row.verified_at,
            lateness_ms=view.lateness_ms,
            platform_post_id=row.platform_post_id,
            permalink=row.permalink,
            attempts=row.attempts or 0,
            next_attempt_at=row.next_attempt_at,
            hold_reason=row.hold_reason,
            review_state=_REVIEW_OF.get(view.stage),
            error=error,
            steps=[StepAnswer.of(step) for step in view.steps],
        )


class ProgressAnswer(View):
    """How the posts of a content stand. PUBLISHED only if all are; `errorCode` partial says some."""

    content_id: str
    status: ContentStatus
    error_code: str | None
    publications: list[PublicationAnswer]

    @classmethod
    def of(cls, progress: ContentProgress) -> Self:
        """Show a content's posts."""
        return cls(
            content_id=progress.content.id,
            status=progress.content.status,
            error_code=progress.content.error_code,
            publications=[PublicationAnswer.of(view) for view in progress.publications],
        )


class PlannedPublication(View):
    """What would be published on one account, complete with its defaults."""

    account_id: str
    platform: Platform
    options: dict[str, Any]


class ValidationAnswer(View):
    """Everything that stands against a wish, and what to know; nothing was changed."""

    valid: bool
    scheduled_at: Instant | None
    errors: list[FieldView]
    warnings: list[FieldView]
    publications: list[PlannedPublication]

    @classmethod
    def of(cls, found: Examination) -> Self:
        """Show what an examination found; its instant is added by who knows it."""
        return cls(
            valid=not found.errors,
            scheduled_at=None,
            errors=[FieldView.of(item) for item in found.errors],
            warnings=[FieldView.of(item) for item in found.warnings],
            publications=[
                PlannedPublication(
                    account_id=target.account.id,
                    platform=target.account.platform,
                    options=target.options,
                )
                for target in found.targets
            ],
        )


class RolledBackPostAnswer(View):
    """What became of one post. `manual`: it stays public until a person follows `instruction`."""

    id: str
    account_id: str
    platform: Platform
    outcome: Outcome
    instruction: str | None
    permalink: str | None


class RolledBackAnswer(View):
    """A content after a rollback: DRAFT, unless a post is `pending` and the rollback is to be repeated."""

    content_id: str
    status: ContentStatus
    publications: list[RolledBackPostAnswer]

    @classmethod
    def of(cls, done: RolledBack) -> Self:
        """Show what a rollback did."""
        return cls.model_validate(done, from_attributes=True)
