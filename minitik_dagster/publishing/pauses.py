"""Pause and resume: everything, a platform or an account. Paused posts wait, they do not fail.

Takes effect on every dispatcher within a second: nothing new of the scope is begun, and what is held
for its instant is put down before its commit. What has been sent is still asked about and confirmed.
A post that has become too late meanwhile fails, with `too_late`, only after the resume.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Connection, text

from minitik_dagster.db.types import Platform, from_db
from minitik_dagster.errors import FieldProblem, InvalidInputError, NotFoundError
from minitik_dagster.ids import new_id
from minitik_dagster.publishing import pause_queries
from minitik_dagster.publishing.dead_letters import platform_named
from minitik_dagster.scheduling.schedule import DEFAULT_MAX_LATENESS

_REASON_LIMIT = 500
# One statement's share; the dispatchers go on from there.
SHELF_LIMIT = 5_000


@dataclass(frozen=True)
class Scope:
    """What a pause covers: everything, one platform, or one account."""

    platform: Platform | None = None
    account_id: str | None = None

    @classmethod
    def of(cls, *, everything: bool, platform: str | None, account_id: str | None) -> Self:
        """Read a scope from what a person gave; InvalidInputError unless exactly one is named."""
        if sum((everything, platform is not None, account_id is not None)) != 1:
            raise InvalidInputError(
                FieldProblem("all", "one scope is needed", "name all, one platform or one account")
            )
        return cls(platform_named(platform) if platform is not None else None, account_id)

    @property
    def key(self) -> str:
        """The flag's key in `settings`."""
        if self.platform is not None:
            return f"pause:platform:{self.platform.value.lower()}"
        return f"pause:account:{self.account_id}" if self.account_id else "pause:all"

    def __str__(self) -> str:
        if self.platform is not None:
            return self.platform.value.lower()
        return f"account {self.account_id}" if self.account_id else "everything"


@dataclass(frozen=True)
class Pause:
    """A pause in force."""

    scope: str
    reason: str
    actor: str
    since: datetime


@dataclass(frozen=True)
class Cost:
    """What a pause holds back: `paused` now, `waiting` with what begins within the hour."""

    paused: int
    waiting: int
    creators: int


@dataclass(frozen=True)
class Resumed:
    """What a resume let go; `too_late` of them will fail for their maxLateness."""

    released: int
    too_late: int


def list_pauses(connection: Connection) -> list[Pause]:
    """Return the pauses in force."""
    return [
        Pause(
            scope=row["key"].removeprefix("pause:"),
            reason=row["value"].get("reason") or "",
            actor=row["value"].get("actor") or "",
            since=from_db(row["since"]),
        )
        for row in connection.execute(text(pause_queries.FLAGS)).mappings()
    ]


def pause(connection: Connection, scope: Scope, *, reason: str, actor: str) -> Cost:
    """Raise the scope's flag in the caller's transaction; return what it holds back.

    Raises NotFoundError for an account that is not there. Repeating it renews reason and actor.
    """
    require_account(connection, scope)
    reason = " ".join(reason.split())[:_REASON_LIMIT]
    told = f"{scope} is paused" + (f": {reason}" if reason else "")
    values = {"key": scope.key, "reason": reason, "actor": actor, "text": told}
    connection.execute(text(pause_queries.RAISE_FLAG), values)
    _audit(connection, "queue.pause", scope, actor, {"reason": reason})
    connection.execute(text(pause_queries.SHELVE), {"limit": SHELF_LIMIT})
    connection.execute(text(pause_queries.WAKE))
    return cost(connection, scope)


def resume(connection: Connection, scope: Scope, *, actor: str) -> Resumed:
    """Lower the scope's flag and let go what no other pause covers.

    Raises NotFoundError when the scope is not paused.
    """
    lowered = connection.execute(text(pause_queries.LOWER_FLAG), {"key": scope.key}).first()
    if lowered is None:
        paused = ", ".join(item.scope for item in list_pauses(connection)) or "nothing"
        raise NotFoundError(f"{scope} is not paused; paused is: {paused}")
    _audit(connection, "queue.resume", scope, actor, {})
    rows = connection.execute(
        text(pause_queries.LET_GO), {"default_lateness": DEFAULT_MAX_LATENESS.total_seconds()}
    ).mappings()
    late = [bool(row["too_late"]) for row in rows]
    connection.execute(text(pause_queries.WAKE))
    return Resumed(released=len(late), too_late=sum(late))


def cost(connection: Connection, scope: Scope) -> Cost:
    """Return what a pause of the scope holds back."""
    values = {
        "platform": scope.platform.value.lower() if scope.platform else None,
        "account_id": scope.account_id,
    }
    return Cost(**connection.execute(text(pause_queries.COST), values).mappings().one())


def shelve_due(connection: Connection) -> int:
    """Take what has become due under a pause out of the due index; returns how many.

    Dispatchers do so twice a second; the sensor does it where none is alive.
    """
    if connection.execute(text(pause_queries.FLAGS)).first() is None:
        return 0
    rows = connection.execute(text(pause_queries.SHELVE), {"limit": SHELF_LIMIT})
    return len(rows.all())


def require_account(connection: Connection, scope: Scope) -> None:
    """Raise NotFoundError where the scope is an account that is not there."""
    if scope.account_id is None:
        return
    found = connection.execute(
        text("SELECT 1 FROM accounts WHERE id = :id"), {"id": scope.account_id}
    )
    if found.first() is None:
        raise NotFoundError(f"no account {scope.account_id[:64]!r}; see: minitik accounts list")


def _audit(
    connection: Connection, action: str, scope: Scope, actor: str, detail: Mapping[str, Any]
) -> None:
    connection.execute(
        text(pause_queries.AUDIT),
        {
            "row_id": new_id(),
            "actor": actor,
            "action": action,
            "subject": scope.key,
            "detail": json.dumps(detail),
        },
    )
