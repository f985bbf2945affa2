"""Many posts in one request: each row is scheduled or told why not, and the same rows change nothing again.

A row is known by its content, its accounts and its instant. What is scheduled so already is answered with
its job; what was cancelled stays cancelled, so that a file sent twice brings nothing back.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import JobPriority, JobStatus, to_db
from minitik_dagster.errors import MinitikError, StateConflictError
from minitik_dagster.scheduling.foresight import Foresight, foresee
from minitik_dagster.scheduling.instants import ZonedInstant
from minitik_dagster.scheduling.rules import Wish, is_id
from minitik_dagster.scheduling.schedule import queue_up, schedule
from minitik_dagster.settings import Settings

MAX_ROWS: Final = 20
_ASKED_AT_ONCE: Final = 5
# The newest first: a post that was cancelled and scheduled again by hand is scheduled.
_FIND: Final = text(
    """
    SELECT j.id, j.status::text AS status
    FROM scheduled_jobs j JOIN contents c ON c.id = j."contentId"
    WHERE j."contentId" = :content_id AND c."userId" = :user_id AND j."scheduledAt" = :at
        AND j."accountIds" @> CAST(:account_ids AS text[])
        AND j."accountIds" <@ CAST(:account_ids AS text[])
    ORDER BY j."createdAt" DESC, j.id DESC LIMIT 1
    """
)


@dataclass(frozen=True)
class Row:
    """One post that is asked for."""

    wish: Wish
    when: ZonedInstant
    priority: JobPriority
    max_lateness: timedelta


@dataclass(frozen=True)
class Made:
    """A row's job; `new` is False where it was there already. No id in a dry run of a new one."""

    job_id: str | None
    new: bool
    publications: tuple[Publication, ...] = ()


def look_ahead_rows(
    engine: Engine, settings: Settings, rows: Sequence[Row | MinitikError]
) -> list[Foresight | None]:
    """Ask the platforms for each row as scheduling it alone would; None where a row is no post."""

    def ask(row: Row | MinitikError) -> Foresight | None:
        if isinstance(row, MinitikError):
            return None
        return foresee(engine, settings, row.wish, row.when.at, row.max_lateness)

    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        return list(pool.map(ask, rows))


def schedule_rows(
    session: Session,
    rows: Sequence[Row | MinitikError],
    foresights: Sequence[Foresight | None],
    *,
    dry_run: bool = False,
) -> list[Made | MinitikError]:
    """Schedule the rows in order within the caller's transaction; a refused one changes nothing.

    A dry run sees what the rows before it would have taken up, and leaves no trace.
    """
    posts = [row for row in rows if isinstance(row, Row)]
    if posts:
        contents = {row.wish.content_id for row in posts}
        queue_up(session, posts[0].wish.user_id, contents)
    whole = session.begin_nested()
    made: list[Made | MinitikError] = []
    for row, foresight in zip(rows, foresights, strict=True):
        made.append(row if isinstance(row, MinitikError) else _one(session, row, foresight))
    if dry_run:
        whole.rollback()
        return [_unmade(one) for one in made]
    whole.commit()
    return made


def _one(session: Session, row: Row, foresight: Foresight | None) -> Made | MinitikError:
    part = session.begin_nested()
    try:
        found = _existing(session, row)
        if found is None:
            made = schedule(
                session,
                row.wish,
                row.when,
                priority=row.priority,
                max_lateness=row.max_lateness,
                foresight=foresight,
            )
            found = Made(made.job.id, new=True, publications=made.publications)
    except MinitikError as error:
        part.rollback()
        return error
    part.commit()
    return found


def _existing(session: Session, row: Row) -> Made | None:
    wish = row.wish
    if not all(is_id(one) for one in (wish.content_id, *wish.account_ids)):
        return None
    values = {
        "content_id": wish.content_id,
        "user_id": wish.user_id,
        "at": to_db(row.when.at),
        "account_ids": list(wish.account_ids),
    }
    job = session.execute(_FIND, values).mappings().first()
    if job is None:
        return None
    if job["status"] == JobStatus.CANCELLED:
        raise StateConflictError(
            f"this post was scheduled as job {job['id']} and cancelled; sending it again brings it not "
            "back: schedule it by POST /api/scheduling if it is wanted",
            state=job["status"],
        )
    return Made(job["id"], new=False)


def _unmade(made: Made | MinitikError) -> Made | MinitikError:
    if isinstance(made, Made) and made.new:
        return Made(None, new=True)
    return made
