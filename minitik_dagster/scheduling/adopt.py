"""Taking over the old system's queue: its jobs become publications, exactly once.

The old system kept only `accountIds` in scheduled_jobs. Each pending job becomes one publication per
account; a row that is already there for that content and account is bound to the job instead, so what
was sent is never sent again. What the old system may have been sending goes to review: nobody but a
person can tell. Rows of the old system have no stage and are never claimed before this has run.

    old row or job                          becomes
    PENDING job, no row or QUEUED           scheduled (held where TikTok's privacy is not known)
    ACTIVE job, no row or QUEUED            review: the old worker had it in hand
    PUBLISHING                              review
    PUBLISHED, FAILED                       live, failed: as they are
    QUEUED that no open job asks for        paused
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Final, get_args

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Account, Publication
from minitik_dagster.db.stages import STATUS_OF, Stage
from minitik_dagster.db.types import Platform, to_db
from minitik_dagster.errors import ConfigurationError, FieldProblem, InvalidInputError
from minitik_dagster.ids import new_id
from minitik_dagster.platforms.options import TikTokPrivacy
from minitik_dagster.resilience.old_queue import OldQueue, read_old_queue
from minitik_dagster.scheduling.adopt_plan import Move, Plan, make_plan
from minitik_dagster.scheduling.adopt_queries import HISTORY, LOCK, MARK, MARKED
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


@dataclass(frozen=True)
class Adoption:
    """What was found and (`applied`) done.

    `jobs` are the open ones, `publications` counts theirs by the stage they come to, `history` the
    old rows that only got a stage. `holds` and `problems` say what a person has to do. `old_queue` is
    None where Redis was not asked.
    """

    applied: bool
    adopted_at: datetime | None
    jobs: int
    publications: dict[str, int]
    history: dict[str, int]
    holds: tuple[str, ...]
    problems: tuple[str, ...]
    old_queue: OldQueue | None


def find(session: Session, redis_url: str | None, *, tiktok_privacy: str | None = None) -> Adoption:
    """Look at what there is to take over and what would become of it; changes nothing.

    `tiktok_privacy` is used for TikTok accounts whose creator never chose one. The old queue is
    looked at where `redis_url` is given (DependencyDownError when Redis does not answer).
    """
    _check_privacy(tiktok_privacy)
    plan = make_plan(session, tiktok_privacy)
    queue = read_old_queue(redis_url, plan.old_queue_ids) if redis_url is not None else None
    return _report(session, plan, queue, applied=False)


def adopt(
    session: Session, redis_url: str | None, *, tiktok_privacy: str | None = None
) -> Adoption:
    """Take over what `find` finds, in the caller's transaction. Running it again changes nothing.

    The old queue must be asked and must be paused and idle (contracts.md, PostgreSQL): raises
    ConfigurationError without REDIS_URL, DependencyDownError when Redis does not answer,
    StateConflictError when an old worker could still post.
    """
    _check_privacy(tiktok_privacy)
    if redis_url is None:
        raise ConfigurationError(
            ["REDIS_URL is not set: the old queue lives there and must be asked before taking over"]
        )
    session.execute(text(LOCK))
    plan = make_plan(session, tiktok_privacy)
    queue = read_old_queue(redis_url, plan.old_queue_ids)
    queue.require_idle()
    now = database_now(session)
    for move in plan.moves:
        _apply(session, move, now, tiktok_privacy)
    session.flush()
    for statement in HISTORY.values():
        session.execute(text(statement))
    for content_id, job_id in dict.fromkeys(
        (move.content.id, move.job.id if move.job else None) for move in plan.moves
    ):
        for statement in ROLL_UP:
            session.execute(text(statement), {"content_id": content_id, "job_id": job_id})
    session.execute(text(MARK), {"at": now.isoformat(), "now": to_db(now)})
    session.execute(text("SELECT pg_notify('minitik_due', '')"))
    session.expire_all()
    return _report(session, plan, queue, applied=True)


def _check_privacy(level: str | None) -> None:
    if level is not None and level not in TIKTOK_PRIVACY:
        raise InvalidInputError(
            FieldProblem(
                "tiktok-privacy",
                f"{level[:40]!r} is not known",
                f"use: {', '.join(TIKTOK_PRIVACY)}",
            )
        )


def _report(session: Session, plan: Plan, queue: OldQueue | None, *, applied: bool) -> Adoption:
    stored = session.execute(text(MARKED)).scalar_one_or_none()
    return Adoption(
        applied=applied,
        adopted_at=None if stored is None else datetime.fromisoformat(stored),
        jobs=plan.jobs,
        publications=dict(Counter(move.stage.value for move in plan.moves)),
        history=plan.history,
        holds=tuple(dict.fromkeys(move.hold_reason for move in plan.moves if move.hold_reason)),
        problems=tuple(plan.problems),
        old_queue=queue,
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
