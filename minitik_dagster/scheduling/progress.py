"""How the posts of a content stand: each publication with its ledger, as its owner may see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Content, Publication
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.tables import PublicationStep
from minitik_dagster.db.types import PublicationStatus
from minitik_dagster.errors import NotFoundError
from minitik_dagster.scheduling.rules import find_content

# What readers of an old row, which has no stage, may take it for.
_STAGE_OF_OLD = {
    PublicationStatus.QUEUED: Stage.SCHEDULED,
    PublicationStatus.PUBLISHING: Stage.UNKNOWN,
    PublicationStatus.PUBLISHED: Stage.LIVE,
    PublicationStatus.FAILED: Stage.FAILED,
}


@dataclass(frozen=True)
class StepView:
    """One line of the ledger; `message` is the platform's own words, where it gave any."""

    name: str
    attempt: int
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    platform_code: str | None
    message: str | None
    request_id: str | None


@dataclass(frozen=True)
class PublicationView:
    """A publication and its steps in the order in which they began."""

    publication: Publication
    steps: tuple[StepView, ...]

    @property
    def stage(self) -> Stage:
        """Where it stands; a row of the old system is told by its status."""
        found = self.publication.stage
        return Stage(found) if found else _STAGE_OF_OLD[self.publication.status]

    @property
    def lateness_ms(self) -> int | None:
        """Milliseconds from the due instant to the commit's first byte; None before it was sent."""
        sent, due = self.publication.committed_at, self.publication.due_at
        if sent is None or due is None:
            return None
        return round((sent - due).total_seconds() * 1000)


@dataclass(frozen=True)
class ContentProgress:
    """A content and its publications, the oldest first."""

    content: Content
    publications: tuple[PublicationView, ...]


def content_progress(session: Session, user_id: str, content_id: str) -> ContentProgress:
    """Return how the caller's content stands; NotFoundError alike for unknown and foreign ids."""
    content = find_content(session, user_id, content_id)
    if content is None:
        raise NotFoundError(f"no content {content_id[:64]!r}; see GET /api/content")
    publications = session.scalars(
        select(Publication)
        .where(Publication.content_id == content.id)
        .order_by(Publication.created_at, Publication.platform, Publication.id)
    ).all()
    steps: dict[str, list[StepView]] = {}
    for row in session.scalars(
        select(PublicationStep)
        .where(PublicationStep.publication_id.in_([item.id for item in publications]))
        .order_by(PublicationStep.started_at, PublicationStep.id)
    ):
        steps.setdefault(row.publication_id, []).append(_step(row))
    return ContentProgress(
        content,
        tuple(PublicationView(item, tuple(steps.get(item.id, ()))) for item in publications),
    )


def _step(row: PublicationStep) -> StepView:
    message = row.detail.get("message") if isinstance(row.detail, Mapping) else None
    return StepView(
        name=row.name,
        attempt=row.attempt,
        started_at=row.started_at,
        ended_at=row.ended_at,
        outcome=row.outcome,
        platform_code=row.platform_code,
        message=message if isinstance(message, str) else None,
        request_id=row.request_id,
    )
