"""Draining the publish queue, and putting a drained batch back.

A drain cancels what has not been sent, as its owners could, and remembers each post as it stood under
a batch id. A restore puts back what nothing has happened to since: a content that was deleted or
scheduled again stays cancelled, so that nothing goes out twice. Both plan first; both are in
`audit_log`. Large queues go in parts of some hundred contents, each its own transaction: after
a drain that was cut off a second one takes the rest as a batch of its own; a restore goes on when repeated.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import NotFoundError
from minitik_dagster.ids import new_id
from minitik_dagster.notifications.events import tell_changes
from minitik_dagster.operations import drain_queries as queries
from minitik_dagster.publishing.pause_queries import AUDIT, WAKE
from minitik_dagster.publishing.pauses import Scope, require_account
from minitik_dagster.scheduling.changes import roll_up_all, withdraw
from minitik_dagster.scheduling.schedule import DEFAULT_MAX_LATENESS

Part = Literal["waiting", "delayed"]
CONTENTS_AT_ONCE: Final = 200


@dataclass(frozen=True)
class Share:
    """What a drain takes of one platform; `sending` is on its way and cannot be taken back."""

    platform: str
    posts: int
    creators: int
    sending: int
    first_due: datetime | None
    last_due: datetime | None


@dataclass(frozen=True)
class Drained:
    """A drain, planned or done; `batch` is what `restore` takes, None of a plan."""

    scope: str
    shares: tuple[Share, ...]
    batch: str | None = None
    posts: int = 0

    @property
    def planned(self) -> int:
        """How many posts the plan counted."""
        return sum(share.posts for share in self.shares)


@dataclass(frozen=True)
class Batch:
    """A drain that was done; `left` of its posts have not been put back."""

    batch: str
    drained_at: datetime
    scope: str
    actor: str
    posts: int
    left: int


@dataclass
class Restored:
    """A restore, planned or done, by what becomes of each post.

    `restore` of them go back, `too_late` of those will fail at once for their maxLateness (and can be
    replayed); `changed`, `gone` and `replaced` stay cancelled.
    """

    batch: str
    done: bool
    counts: Counter[str] = field(default_factory=Counter)
    too_late: int = 0
    stay: list[tuple[str, str]] = field(default_factory=list)


def plan_drain(session: Session, scope: Scope, part: Part | None = None) -> Drained:
    """Say what a drain would take; changes nothing. NotFoundError for an account that is not there."""
    require_account(session.connection(), scope)
    rows = session.execute(text(queries.PLAN), _values(scope, part)).mappings()
    return Drained(str(scope), tuple(_share(dict(row)) for row in rows))


def drain(engine: Engine, scope: Scope, *, actor: str, part: Part | None = None) -> Drained:
    """Cancel what the scope holds and has not been sent; return the batch's id, None of nothing.

    Posts that come in meanwhile are not its business: pause the scope first.
    """
    batch = new_id()
    with Session(engine) as session, session.begin():
        planned = plan_drain(session, scope, part)
        if not planned.planned:
            return planned
        detail = {"scope": str(scope), "part": part, "posts": planned.planned}
        _audit(session, "queue.drain", batch, actor, detail)
    posts = 0
    for ids in _contents(engine, queries.NEXT_CONTENTS, _values(scope, part)):
        with Session(engine) as session, session.begin():
            posts += _drain_some(session, batch, ids, _values(scope, part))
    with Session(engine) as session, session.begin():
        _audit(session, "queue.drained", batch, actor, {"posts": posts})
    return Drained(planned.scope, planned.shares, batch, posts)


def list_batches(session: Session, limit: int = 50) -> list[Batch]:
    """Return the drains that were done, the newest first."""
    return [
        Batch(
            batch=row["batch"],
            drained_at=from_db(row["drained_at"]),
            scope=row["scope"] or "",
            actor=row["actor"] or "",
            posts=row["posts"],
            left=row["left"],
        )
        for row in session.execute(text(queries.BATCHES), {"limit": limit}).mappings()
    ]


def plan_restore(session: Session, batch: str) -> Restored:
    """Say what a restore would put back; NotFoundError for a batch that is not there or is done."""
    return _judged(session, batch, None)


def restore(engine: Engine, batch: str, *, actor: str) -> Restored:
    """Put a drained batch back; safe to repeat. Raises NotFoundError as `plan_restore` does."""
    with Session(engine) as session, session.begin():
        plan_restore(session, batch)
    done = Restored(batch, done=True)
    for ids in _contents(engine, queries.BATCH_CONTENTS, {"batch": batch}):
        with Session(engine) as session, session.begin():
            part = _restore_some(session, batch, ids)
        done.counts += part.counts
        done.too_late += part.too_late
        done.stay += part.stay
    with Session(engine) as session, session.begin():
        session.execute(text(WAKE))
        _audit(session, "queue.restore", batch, actor, dict(done.counts))
    return done


def _drain_some(
    session: Session, batch: str, contents: Sequence[str], values: Mapping[str, Any]
) -> int:
    session.execute(text(queries.LOCK_CONTENTS), {"ids": list(contents)})
    taken = session.execute(text(queries.TAKE), {**values, "ids": list(contents)})
    ids = list(taken.scalars())
    if not ids:
        return 0
    session.execute(text(queries.REMEMBER), {"batch": batch, "ids": ids})
    publications = _load(session, ids)
    withdraw(session, publications)
    for item in publications:
        item.error = f"an operator drained the queue before it was sent (batch {batch})"
    roll_up_all(session, publications)
    return len(ids)


def _restore_some(session: Session, batch: str, contents: Sequence[str]) -> Restored:
    session.execute(text(queries.LOCK_CONTENTS), {"ids": list(contents)})
    session.execute(text(queries.LOCK_BATCH), {"batch": batch, "ids": list(contents)})
    judged = _judged(session, batch, contents)
    stay = {publication for publication, _ in judged.stay}
    rows = session.execute(text(queries.JUDGE), _judging(batch, contents)).mappings()
    ids = [row["id"] for row in rows if row["id"] not in stay]
    session.execute(text(queries.RESTORE), {"batch": batch, "ids": ids})
    roll_up_all(session, _load(session, ids))
    session.flush()
    tell_changes(session, ids)
    return judged


def _judging(batch: str, contents: Sequence[str] | None) -> dict[str, Any]:
    return {
        "batch": batch,
        "ids": list(contents) if contents is not None else None,
        "default_lateness": DEFAULT_MAX_LATENESS.total_seconds(),
    }


def _judged(session: Session, batch: str, contents: Sequence[str] | None) -> Restored:
    rows = session.execute(text(queries.JUDGE), _judging(batch, contents)).mappings().all()
    if not rows and contents is None:
        raise NotFoundError(
            f"no drained posts of batch {batch[:64]!r} are left; see: minitik queues drained"
        )
    found = Restored(batch, done=contents is not None)
    for row in rows:
        found.counts[row["verdict"]] += 1
        if row["verdict"] != "restore":
            found.stay.append((row["id"], row["verdict"]))
        elif row["too_late"]:
            found.too_late += 1
    return found


def _contents(engine: Engine, sql: str, values: Mapping[str, Any]) -> Iterator[list[str]]:
    after = ""
    while True:
        with engine.connect() as connection:
            asked = {**values, "after": after, "limit": CONTENTS_AT_ONCE}
            ids = list(connection.execute(text(sql), asked).scalars())
        if not ids:
            return
        yield ids
        after = ids[-1]


def _load(session: Session, ids: Sequence[str]) -> Sequence[Publication]:
    return session.scalars(
        select(Publication)
        .where(Publication.id.in_(ids))
        .order_by(Publication.id)
        .execution_options(populate_existing=True)
    ).all()


def _values(scope: Scope, part: Part | None) -> dict[str, Any]:
    return {
        "platform": scope.platform.value.lower() if scope.platform else None,
        "account_id": scope.account_id,
        "part": part,
    }


def _share(row: Mapping[str, Any]) -> Share:
    times = {name: from_db(row[name]) if row[name] else None for name in ("first_due", "last_due")}
    return Share(row["platform"], row["posts"], row["creators"], row["sending"], **times)


def _audit(
    session: Session, action: str, subject: str, actor: str, detail: Mapping[str, Any]
) -> None:
    session.execute(
        text(AUDIT),
        {
            "row_id": new_id(),
            "actor": actor,
            "action": action,
            "subject": subject,
            "detail": json.dumps(detail),
        },
    )
