"""`/api/dead-letters`: posts that failed for good, and replaying them. An admin sees everybody's."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from fastapi import Depends, Query
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StrictBool, StrictStr

from minitik_dagster.accounts.scopes import READS_POSTS
from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.dependencies import SessionDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.base import Body, Id, Instant, View
from minitik_dagster.api.schemas.scheduling import MaxLateness
from minitik_dagster.db.types import Platform
from minitik_dagster.publishing.dead_letters import (
    LIST_LIMIT,
    DeadLetter,
    Selection,
    get_dead_letter,
    list_dead_letters,
)
from minitik_dagster.publishing.replay import REPLAY_LIMIT, Action, Replay, Slot, replay

router = Router(prefix="/api/dead-letters", tags=["dead letters"])

Reader = Annotated[Caller, Depends(require_scope(*READS_POSTS))]
Writer = Annotated[Caller, Depends(require_scope("publish"))]

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]", re.ASCII)


def _whole(instant: datetime) -> datetime:
    """In UTC and whole milliseconds, rounded up as everywhere: a post is never early."""
    utc = instant.astimezone(UTC)
    return utc + timedelta(microseconds=-utc.microsecond % 1000)


def _iso(value: object) -> object:
    """A number is no instant here: what is meant by 0.5 is anybody's guess."""
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value)):
        return value
    raise ValueError("must be an instant as ISO 8601 with its offset, 2026-12-24T17:00:00Z")


Moment = Annotated[AwareDatetime, BeforeValidator(_iso), AfterValidator(_whole)]


class DeadLetterView(View):
    """One final failure; `story` is the ledger as it stood then, oldest step first."""

    id: str
    publication_id: str
    content_id: str
    title: str
    account_id: str
    platform: Platform
    code: str
    reason: str
    fix: str
    stage: str
    due_at: Instant | None
    created_at: Instant
    resolved_at: Instant | None
    resolution: str | None
    story: list[dict[str, Any]]

    @classmethod
    def of(cls, letter: DeadLetter) -> Self:
        """Show a letter."""
        return cls.model_validate(letter, from_attributes=True)


class DeadLettersView(View):
    """Letters, the newest first."""

    items: list[DeadLetterView]


class ReplayBody(Body):
    """Which letters, and for which slot; a plan unless `dryRun` is false."""

    ids: Annotated[list[Id], Field(max_length=REPLAY_LIMIT)] = Field(default_factory=list)
    code: Annotated[StrictStr, Field(max_length=100)] | None = None
    platform: Platform | None = None
    from_: Annotated[Moment | None, Field(alias="from")] = None
    to: Moment | None = None
    at: Moment | None = None
    max_lateness: MaxLateness | None = None
    dry_run: StrictBool = True


class PlannedView(View):
    """One post's place in the plan, and why."""

    dead_letter_id: str
    publication_id: str
    account_id: str
    platform: Platform
    code: str
    due_at: Instant
    action: Action
    reason: str


class ReplayView(View):
    """A plan (`dryRun` true: nothing was changed), or what was done. `more`: replay again."""

    dry_run: bool
    counts: dict[str, int]
    more: bool
    items: list[PlannedView]

    @classmethod
    def of(cls, made: Replay) -> Self:
        """Show a replay."""
        items = [
            PlannedView.model_validate(
                {**vars(item), "dead_letter_id": item.letter_id}, by_name=True
            )
            for item in made.items
        ]
        return cls(dry_run=not made.done, counts=dict(made.counts), more=made.more, items=items)


def _owner(caller: Caller) -> str | None:
    return None if caller.is_admin else caller.user_id


@router.get("", responses=problems())
def list_failed_posts(
    caller: Reader,
    session: SessionDep,
    code: Annotated[str | None, Query(max_length=100)] = None,
    platform: Platform | None = None,
    from_: Annotated[Moment | None, Query(alias="from")] = None,
    to: Moment | None = None,
    resolved: bool = False,
    limit: Annotated[int, Query(ge=1, le=LIST_LIMIT)] = 20,
) -> DeadLettersView:
    """List what failed for good, the newest first; `resolved` shows what is settled too."""
    selection = Selection(
        code=code,
        platform=platform,
        since=from_,
        until=to,
        resolved=resolved,
        user_id=_owner(caller),
    )
    found = list_dead_letters(session.connection(), selection, limit=limit)
    return DeadLettersView(items=[DeadLetterView.of(letter) for letter in found])


@router.get("/{letter_id}", responses=problems(404))
def read_failed_post(letter_id: str, caller: Reader, session: SessionDep) -> DeadLetterView:
    """Read one failure with its whole story."""
    letter = get_dead_letter(session.connection(), letter_id, user_id=_owner(caller))
    return DeadLetterView.of(letter)


@router.post("/replay", responses=problems(404))
def replay_failed_posts(body: ReplayBody, caller: Writer, session: SessionDep) -> ReplayView:
    """Say what a replay would do; with `dryRun` false, do it. Never posts twice; safe to repeat."""
    made = replay(
        session,
        Selection(
            ids=body.ids,
            code=body.code,
            platform=body.platform,
            since=body.from_,
            until=body.to,
            user_id=_owner(caller),
        ),
        slot=Slot(
            at=body.at,
            max_lateness=timedelta(seconds=body.max_lateness) if body.max_lateness else None,
        ),
        dry_run=body.dry_run,
        actor=caller.user_id,
    )
    return ReplayView.of(made)
