"""Live posts as series of readings, and the lock of a partition."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, text
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.analytics import live_post_queries as queries
from minitik_dagster.analytics.cadence import first_slots_due
from minitik_dagster.analytics.readings import Series
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import AccountStatus, Platform, from_db, to_db

_LOCK_WAIT_MS: Final = 15 * 60 * 1000


@dataclass(frozen=True)
class LivePost:
    """A live post; `readable` is false where its account is not connected or its id not known."""

    series: Series
    connected: bool

    @property
    def has_id(self) -> bool:
        """Whether the platform has told the public id (TikTok's comes late, or never)."""
        return bool(self.series.platform_post_id)


def post_of(row: RowMapping | Mapping[str, Any]) -> LivePost:
    """Read a row of live_post_queries."""
    return LivePost(
        Series(
            publication_id=row["id"],
            content_id=row["content_id"],
            account_id=row["account_id"],
            user_id=row["user_id"],
            platform=Platform(row["platform"]),
            platform_post_id=row["platform_post_id"] or "",
            live_at=from_db(row["live_at"]),
            adopted=row["adopted"],
        ),
        connected=row["account_status"] == AccountStatus.CONNECTED.value,
    )


async def due_posts(
    engine: AsyncEngine, slot: datetime, *, page: int, user_id: str | None = None
) -> AsyncIterator[list[LivePost]]:
    """Yield the posts that are due at `slot`, page by page, an account's together."""
    after = ("", "")
    while True:
        values = {
            "firsts": [to_db(first) for first in first_slots_due(slot)],
            "after_account": after[0],
            "after_id": after[1],
            "user_id": user_id,
            "limit": page,
        }
        async with engine.begin() as connection:
            rows = (await connection.execute(text(queries.DUE), values)).mappings().all()
        found = [post_of(row) for row in rows]
        if found:
            yield found
        if len(found) < page:
            return
        after = (found[-1].series.account_id, found[-1].series.publication_id)


def live_posts(
    connection: Connection,
    *,
    ids: Sequence[str] | None = None,
    content_ids: Sequence[str] | None = None,
    user_id: str | None = None,
    still_live: bool = False,
) -> list[LivePost]:
    """Return the posts that are live, or were unless `still_live`, of these ids, contents or a person."""
    values = {
        "ids": None if ids is None else list(ids),
        "stages": [Stage.LIVE.value] if still_live else [Stage.LIVE.value, Stage.REMOVED.value],
        "content_ids": None if content_ids is None else list(content_ids),
        "user_id": user_id,
    }
    return [post_of(row) for row in connection.execute(text(queries.LIVE), values).mappings()]


def accounts_of(connection: Connection, user_id: str) -> list[str]:
    """Return the ids of a person's accounts, disconnected ones as well."""
    found = connection.execute(text(queries.ACCOUNTS), {"user_id": user_id})
    return list(found.scalars())


@asynccontextmanager
async def partition_lock(engine: AsyncEngine, name: str) -> AsyncIterator[None]:
    """Hold the advisory lock `name` over the block, in a transaction; wait for who has it."""
    async with engine.begin() as connection:
        limits = {"milliseconds": str(_LOCK_WAIT_MS)}
        await connection.execute(text(queries.LOCK_LIMITS), limits)
        await connection.execute(text(queries.LOCK), {"name": name})
        yield


def database_now(connection: Connection) -> datetime:
    """Return PostgreSQL's instant."""
    return from_db(connection.execute(text(queries.NOW)).scalar_one())
