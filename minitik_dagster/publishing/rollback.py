"""Rollback of a content: what was not sent is cancelled, what is public is deleted where that can be done.

Three transactions and the platforms' calls between them. First the rows are judged and locked: nothing
is changed while anything is being sent. What is to be deleted is taken under a lease of our own, so that
no dispatcher interferes; each deletion is a step of the ledger, written before and after the call; then
the content is summed up. Interrupted anywhere, a repetition goes on from what the rows say, and a video
that is gone already counts as deleted.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from minitik_dagster.db.migrate import require_world
from minitik_dagster.db.models import Content, Publication
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import ContentStatus, Platform, PublicationStatus
from minitik_dagster.errors import NotFoundError, StateConflictError
from minitik_dagster.ids import new_id
from minitik_dagster.publishing import rollback_queries as queries
from minitik_dagster.publishing.rollback_calls import LEASE, Taken, Told, take_away
from minitik_dagster.publishing.work import Claim
from minitik_dagster.scheduling.changes import CHANGEABLE, open_commits, withdraw
from minitik_dagster.scheduling.rollup import LOCK_CONTENT, ROLL_UP_CONTENT, ROLL_UP_JOB
from minitik_dagster.scheduling.rules import database_now, is_id
from minitik_dagster.settings import Settings

OWNER_PREFIX: Final = "rollback-"
_PUBLIC: Final = frozenset({Stage.CONFIRMING, Stage.LIVE})
_ENDED: Final = frozenset({Stage.FAILED, Stage.CANCELLED, Stage.REMOVED})
_BUSY: Final = {
    Stage.COMMITTING: "being sent",
    Stage.UNKNOWN: "being settled: its answer was lost and the platform is being asked",
    Stage.REVIEW: "waiting for a person's review: minitik reviews",
}


class Outcome(StrEnum):
    """What became of one publication.

    cancelled   was not sent, and will not be
    deleted     gone from the platform
    manual      stays public until a person deletes it; blocks another post to that account
    pending     could not be done just now; ask again
    ended       had ended before: failed, cancelled or removed
    """

    CANCELLED = "cancelled"
    DELETED = "deleted"
    MANUAL = "manual"
    PENDING = "pending"
    ENDED = "ended"


@dataclass(frozen=True)
class RolledBackPost:
    """One publication's outcome; `instruction` says what is left to a person, `permalink` where."""

    id: str
    account_id: str
    platform: Platform
    outcome: Outcome
    instruction: str | None = None
    permalink: str | None = None


@dataclass(frozen=True)
class RolledBack:
    """How a content stands after a rollback; DRAFT when nothing of it counts any more."""

    content_id: str
    status: ContentStatus
    publications: tuple[RolledBackPost, ...]


@dataclass(frozen=True)
class _Plan:
    """What the first transaction decided."""

    owner: str
    cancelled: frozenset[str]
    instructions: dict[str, str]
    taken: tuple[Taken, ...]


def roll_back(
    engine: Engine, settings: Settings, user_id: str | None, content_id: str, *, actor: str
) -> RolledBack:
    """Roll the caller's content back (anybody's for an operator, None); safe to repeat.

    Works in transactions of its own, and asks platforms for up to 20 s. Raises NotFoundError, and
    StateConflictError, with nothing changed, while one of its posts is being sent, settled, reviewed or
    rolled back; SchemaVersionError when the platform hosts are not those of this database's world.
    """
    with Session(engine) as session, session.begin():
        require_world(session.connection(), settings.platform_world)
        plan = _begin(session, user_id, content_id)
    told: dict[str, Told] = {}
    if plan.taken:
        told = asyncio.run(take_away(settings, plan.owner, plan.taken))
    with Session(engine) as session, session.begin():
        return _sum_up(session, content_id, plan, told, actor)


def _begin(session: Session, user_id: str | None, content_id: str) -> _Plan:
    rows = _locked(session, user_id, content_id)
    _require_quiet(session, content_id, rows)
    waiting = [row for row in rows if _stage(row) in CHANGEABLE]
    undone = withdraw(session, waiting)
    aside = [row.id for row in rows if _stage(row) in _ENDED]
    session.execute(text(queries.SET_ASIDE), {"ids": aside})
    session.execute(text(queries.RESOLVE_LETTERS), {"ids": aside})
    public = {row.id: row for row in rows if _stage(row) in _PUBLIC}
    owner = OWNER_PREFIX + new_id()
    taken = []
    if public:
        found = session.execute(
            text(queries.TAKE), {"owner": owner, "lease": LEASE, "ids": list(public)}
        )
        for view in found.mappings():
            claim = Claim.from_row(dict(view))
            row = public[claim.publication_id]
            taken.append(Taken(claim, row.permalink, row.rolled_back_at))
    return _Plan(
        owner=owner,
        cancelled=frozenset(row.id for row in waiting),
        instructions={item.publication_id: item.text for item in undone},
        taken=tuple(taken),
    )


def _locked(session: Session, user_id: str | None, content_id: str) -> Sequence[Publication]:
    """Return the content's publications, locked: the content first, as the engine does."""
    content = session.get(Content, content_id) if is_id(content_id) else None
    foreign = user_id is not None and content is not None and content.user_id != user_id
    if content is None or foreign:
        raise NotFoundError(f"no content {content_id[:64]!r}; see GET /api/content")
    session.execute(text(LOCK_CONTENT), {"content_id": content_id})
    return session.scalars(
        select(Publication)
        .where(Publication.content_id == content_id)
        .order_by(Publication.created_at, Publication.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()


def _stage(row: Publication) -> Stage | None:
    """Where it stands; a finished row of the old system by its status, one that is not as None."""
    if row.stage is not None:
        return Stage(row.stage)
    if row.status is PublicationStatus.PUBLISHED:
        return Stage.LIVE
    return Stage.FAILED if row.status is PublicationStatus.FAILED else None


def _require_quiet(session: Session, content_id: str, rows: Sequence[Publication]) -> None:
    """Raise StateConflictError, saying why, while anything may still become public or is being asked."""
    old = session.execute(text(queries.OLD_JOBS), {"content_id": content_id}).first()
    if old is not None or any(_stage(row) is None for row in rows):
        raise StateConflictError(
            "a post of this content belongs to the old system's queue; an operator runs: minitik adopt",
            state="legacy",
        )
    being_sent = open_commits(session, [row.id for row in rows])
    now = database_now(session)
    for row in rows:
        stage = _stage(row)
        assert stage is not None
        if row.id in being_sent and stage is not Stage.UNKNOWN:
            stage = Stage.COMMITTING
        name = f"the post on {row.platform.value} account {row.account_id}"
        if stage in _BUSY:
            raise StateConflictError(
                f"{name} is {_BUSY[stage]}; nothing was changed", state=stage.value
            )
        ours = (row.lease_owner or "").startswith(OWNER_PREFIX)
        if ours and row.lease_expires_at is not None and row.lease_expires_at > now:
            raise StateConflictError(
                f"{name} is being rolled back; ask again in half a minute", state="rolling_back"
            )


def _sum_up(
    session: Session, content_id: str, plan: _Plan, told: dict[str, Told], actor: str
) -> RolledBack:
    session.execute(text(LOCK_CONTENT), {"content_id": content_id})
    rows = session.scalars(
        select(Publication)
        .where(Publication.content_id == content_id)
        .order_by(Publication.created_at, Publication.id)
    ).all()
    for job_id in sorted({row.scheduled_job_id for row in rows if row.scheduled_job_id}):
        session.execute(text(ROLL_UP_JOB), {"job_id": job_id})
    session.execute(text(ROLL_UP_CONTENT), {"content_id": content_id})
    session.execute(text(queries.FORGET_TIMES), {"content_id": content_id})
    posts = tuple(_post(row, plan, told.get(row.id)) for row in rows)
    detail = {post.id: post.outcome.value for post in posts}
    session.execute(
        text(queries.AUDIT),
        {
            "row_id": new_id(),
            "actor": actor,
            "content_id": content_id,
            "detail": json.dumps(detail),
        },
    )
    status = session.scalars(select(Content.status).where(Content.id == content_id)).one()
    return RolledBack(content_id, status, posts)


def _post(row: Publication, plan: _Plan, told: Told | None) -> RolledBackPost:
    outcome, instruction = Outcome.ENDED, None
    if told is not None:
        outcome = Outcome.DELETED if told.deleted else Outcome.MANUAL
        outcome = Outcome.PENDING if told.again else outcome
        instruction = told.instruction or None
    elif row.id in plan.cancelled:
        outcome, instruction = Outcome.CANCELLED, plan.instructions.get(row.id)
    elif row.stage == Stage.REMOVED and row.rolled_back_at is not None:
        outcome = Outcome.DELETED
    return RolledBackPost(
        id=row.id,
        account_id=row.account_id,
        platform=row.platform,
        outcome=outcome,
        instruction=instruction,
        permalink=row.permalink,
    )
