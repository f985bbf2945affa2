"""Taking over the old system's queue: its jobs become publications, exactly once.

The old system kept only `accountIds` in scheduled_jobs. Each pending job becomes one publication per
account; a row that is already there for that content and account is bound to the job instead, so what
was sent is never sent again. What the old system may have been sending goes to review: nobody but a
person can tell. Rows of the old system have no stage and are never claimed before this has run.

    old row or job                          becomes
    PENDING job, no row or QUEUED           scheduled (held where TikTok's privacy is not known)
    ACTIVE job, or begun by the old queue   review: the old worker had it in hand
    PUBLISHING                              review
    PUBLISHED, FAILED                       live, failed: as they are
    QUEUED that no open job asks for        paused

The steps: the old queue is paused; what it says of each open job is noted here; each is removed there
(`old_jobs`); then the publications are made, in one transaction, of what has not come since. After a crash
between any two of them the same command goes on: a job that has left the old queue is known by its note.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, get_args

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Account, Publication
from minitik_dagster.db.stages import STATUS_OF, Stage
from minitik_dagster.db.types import Platform, to_db
from minitik_dagster.errors import ConfigurationError, FieldProblem, InvalidInputError
from minitik_dagster.ids import new_id
from minitik_dagster.platforms.options import TikTokPrivacy
from minitik_dagster.resilience.old_queue import OldQueue
from minitik_dagster.resilience.old_queue_changes import pause_old_queue
from minitik_dagster.scheduling import adopt_queries as queries
from minitik_dagster.scheduling.adopt_plan import Move, Plan, make_plan
from minitik_dagster.scheduling.adopt_queue import (
    Ties,
    begun_jobs,
    look_for_latecomers,
    note,
    remove,
    tie,
)
from minitik_dagster.scheduling.choices import default_privacy
from minitik_dagster.scheduling.lead import prepare_at
from minitik_dagster.scheduling.rollup import ROLL_UP
from minitik_dagster.scheduling.rules import database_now
from minitik_dagster.scheduling.schedule import DEFAULT_MAX_LATENESS

TIKTOK_PRIVACY: Final[tuple[str, ...]] = get_args(TikTokPrivacy)
REVIEW_REASON: Final = (
    "the old system was sending this when it was taken over; look at the account, then: "
    "minitik reviews resolve"
)
Watch = Callable[[str], None]


@dataclass(frozen=True)
class Adoption:
    """What was found and (`applied`) done.

    `jobs` are the open ones, `publications` counts theirs by the stage they come to, `history` the
    old rows that only got a stage. `holds` and `problems` say what a person has to do. `old_queue` is
    the queue as it was found, None where Redis was not asked; `removed` counts the jobs that leave it,
    `strangers` those open there that no open job of the database asks for: they stay.
    """

    applied: bool
    adopted_at: datetime | None
    jobs: int
    publications: dict[str, int]
    history: dict[str, int]
    holds: tuple[str, ...]
    problems: tuple[str, ...]
    old_queue: OldQueue | None
    removed: int = 0
    strangers: int = 0


def find(session: Session, redis_url: str | None, *, tiktok_privacy: str | None = None) -> Adoption:
    """Look at what there is to take over and what would become of it; changes nothing.

    `tiktok_privacy` is used for TikTok accounts whose creator never chose one. The old queue is
    looked at where `redis_url` is given (DependencyDownError when Redis does not answer).
    """
    _check_privacy(tiktok_privacy)
    if redis_url is None:
        plan = make_plan(session, tiktok_privacy, begun=begun_jobs(session))
        return _report(session, plan, None, None, applied=False)
    ties = tie(session, redis_url)
    begun = begun_jobs(session) | ties.begun
    plan = make_plan(session, tiktok_privacy, begun=begun)
    plan.problems.extend(ties.problems)
    return _report(session, plan, ties.queue, ties, applied=False)


def adopt(
    engine: Engine,
    redis_url: str | None,
    *,
    tiktok_privacy: str | None = None,
    queue_is_gone: bool = False,
    watch: Watch = lambda _step: None,
) -> Adoption:
    """Take over what `find` finds. Running it again changes nothing; after a crash it goes on.

    The old queue is paused here and stays paused. `queue_is_gone` says that this Redis is the old
    system's although it holds no queue any more. `watch` hears of each step.

    Raises ConfigurationError without REDIS_URL, DependencyDownError when Redis does not answer,
    StateConflictError while an old worker has a job in hand, or where this Redis has no old queue
    although open jobs name one (contracts.md, PostgreSQL).
    """
    _check_privacy(tiktok_privacy)
    if redis_url is None:
        raise ConfigurationError(
            ["REDIS_URL is not set: the old queue lives there and must be asked before taking over"]
        )
    with Session(engine) as session:
        before = tie(session, redis_url)
    before.require_the_old_systems_redis(gone=queue_is_gone)
    if before.queue.exists:
        pause_old_queue(redis_url)
    watch("paused")
    with Session(engine) as session, session.begin():
        session.execute(text(queries.LOCK))
        # Asked again: a worker may have taken one before the pause.
        ties = tie(session, redis_url)
        ties.queue.require_idle()
        note(session, ties)
        session.execute(text(queries.KEPT_PAUSED))
    watch("noted")
    left, problems, removed = remove(engine, redis_url, ties, watch)
    with Session(engine) as session, session.begin():
        session.execute(text(queries.LOCK))
        only, late = look_for_latecomers(session, redis_url, ties, left)
        plan = make_plan(session, tiktok_privacy, begun=begun_jobs(session), only=only - left)
        plan.problems.extend((*problems, *late))
        _apply_all(session, plan, tiktok_privacy)
        watch("moved")
        report = _report(session, plan, before.queue, ties, applied=True, removed=removed)
    watch("adopted")
    return report


def _apply_all(session: Session, plan: Plan, tiktok_privacy: str | None) -> None:
    now = database_now(session)
    for move in plan.moves:
        _apply(session, move, now, tiktok_privacy)
    session.flush()
    for statement in queries.HISTORY.values():
        session.execute(text(statement))
    for content_id, job_id in dict.fromkeys(
        (move.content.id, move.job.id if move.job else None) for move in plan.moves
    ):
        for statement in ROLL_UP:
            session.execute(text(statement), {"content_id": content_id, "job_id": job_id})
    session.execute(text(queries.MARK), {"at": now.isoformat(), "now": to_db(now)})
    session.execute(text("SELECT pg_notify('minitik_due', '')"))
    session.expire_all()


def _check_privacy(level: str | None) -> None:
    if level is not None and level not in TIKTOK_PRIVACY:
        raise InvalidInputError(
            FieldProblem(
                "tiktok-privacy",
                f"{level[:40]!r} is not known",
                f"use: {', '.join(TIKTOK_PRIVACY)}",
            )
        )


def _report(
    session: Session,
    plan: Plan,
    queue: OldQueue | None,
    ties: Ties | None,
    *,
    applied: bool,
    removed: int = 0,
) -> Adoption:
    stored = session.execute(text(queries.MARKED)).scalar_one_or_none()
    return Adoption(
        applied=applied,
        adopted_at=None if stored is None else datetime.fromisoformat(stored),
        jobs=plan.jobs,
        publications=dict(Counter(move.stage.value for move in plan.moves)),
        history=plan.history,
        holds=tuple(dict.fromkeys(move.hold_reason for move in plan.moves if move.hold_reason)),
        problems=tuple(plan.problems),
        old_queue=queue,
        removed=removed if applied else len(ties.jobs) if ties else 0,
        strangers=len(ties.strangers) if ties else 0,
    )


def _apply(session: Session, move: Move, now: datetime, tiktok_privacy: str | None) -> None:
    row = move.row
    if row is None:
        row = Publication(
            id=new_id(),
            content_id=move.content.id,
            account_id=move.account.id,
            platform=move.account.platform,
            created_at=now,
            confirm_polls=0,
            lease_token=0,
            revision=0,
            attempts=0,
        )
        session.add(row)
    row.scheduled_job_id = move.job.id if move.job else None
    row.stage, row.status = move.stage.value, STATUS_OF[move.stage]
    row.due_at, row.updated_at = move.due_at, now
    row.prepare_at = prepare_at(move.account.platform, move.due_at, move.content.file_size or 0)
    row.hold_reason = move.hold_reason
    if move.job is not None:
        row.priority = move.job.priority
    if move.stage is Stage.LIVE:
        row.accepted_at = row.published_at or row.created_at
        return
    row.options = move.options
    row.max_lateness = int(DEFAULT_MAX_LATENESS.total_seconds())
    if move.stage is Stage.REVIEW:
        row.error, row.error_code = REVIEW_REASON, "needs_review"
    if tiktok_privacy is not None:
        _remember_privacy(move.account, tiktok_privacy)


def _remember_privacy(account: Account, privacy: str) -> None:
    """Keep the choice where scheduling looks for it: the account's stored default."""
    if account.platform is not Platform.TIKTOK or default_privacy(account) is not None:
        return
    details = dict(account.details) if isinstance(account.details, dict) else {}
    chosen = details.get("tiktok")
    account.details = details | {
        "tiktok": (chosen if isinstance(chosen, dict) else {}) | {"defaultPrivacy": privacy}
    }
