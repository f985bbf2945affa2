"""The streams of `GET /api/events`: one reader per process fans out to all of its clients.

No client holds a database connection. The reader is woken by NOTIFY where it may listen, and looks once a
second besides. It reads by transactions, not by time or by number alone: what a slower transaction commits
later is found (PostgreSQL documentation, "pg_snapshot_xmin"). A stream resumes from the id that it sent
last; around a reconnect an event may come twice, and none is left out within a day.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.accounts.credentials import STILL_GOOD
from minitik_dagster.clock import boottime, iso_z
from minitik_dagster.db.engine import make_async_engine, parse_database_url
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import DependencyDownError, TooManyAttemptsError
from minitik_dagster.notifications import event_queries as queries
from minitik_dagster.publishing.listener import Listener
from minitik_dagster.settings import Settings

MOST_PER_USER: Final = 5
MOST: Final = 500
HEARTBEAT: Final = timedelta(seconds=15)
# Events are kept for a day; who was away for longer reads the state anew.
RESUMABLE: Final = timedelta(hours=23)
MOST_RESUMED: Final = 2_000
_QUEUE: Final = 1_000
_POLL: Final = timedelta(seconds=1)
_EXIT_POLL_SECONDS: Final = 0.2
_RECONNECT_MS: Final = 2_000
_UNCLAIMED_SECONDS: Final = 30
_ID = re.compile(r"(\d{1,19})-(\d{1,12})-(\d{1,19})")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Told:
    """An event as it goes out; `horizon` is where a stream that saw it resumes."""

    seq: int
    user_id: str
    kind: str
    at: datetime
    data: Mapping[str, Any]
    horizon: int

    @classmethod
    def of(cls, row: Mapping[str, Any], horizon: int) -> "Told":
        """Read a row of the events' queries."""
        at = from_db(row["at"])
        return cls(row["seq"], row["user_id"], row["type"], at, row["data"], horizon)

    def frame(self) -> bytes:
        """Return it as server-sent events are written (HTML Standard, "Server-sent events")."""
        message = {"type": self.kind, "timestamp": iso_z(self.at), "data": self.data}
        stamp = f"{self.horizon}-{int(self.at.timestamp())}-{self.seq}"
        body = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        return f"id: {stamp}\nevent: {self.kind}\ndata: {body}\n\n".encode()


@dataclass(eq=False)
class Client:
    """One open stream; `credential` is the key or session it stands on."""

    user_id: str
    credential: str
    kinds: frozenset[str]
    began: float = field(default_factory=boottime)
    running: bool = False
    waiting: asyncio.Queue[Told | None] = field(default_factory=lambda: asyncio.Queue(_QUEUE))

    def end(self) -> None:
        """Let the stream end: its client comes back and resumes."""
        while not self.waiting.empty():
            self.waiting.get_nowait()
        self.waiting.put_nowait(None)


class EventHub:
    """All streams of one process. `exiting` says that the server wants to end."""

    def __init__(self, settings: Settings, exiting: Callable[[], bool]) -> None:
        self._settings = settings
        self._exiting = exiting
        self._clients: set[Client] = set()
        self._engine: AsyncEngine | None = None
        self._task: asyncio.Task[None] | None = None
        self._since = 0
        self._seen: dict[int, int] = {}

    @property
    def open_streams(self) -> int:
        """How many clients there are."""
        return len(self._clients)

    async def open(
        self, user_id: str, credential: str, kinds: frozenset[str], last_id: str | None
    ) -> AsyncIterator[bytes]:
        """Return a stream of the user's events of these kinds, after `last_id` where there is one.

        Raises TooManyAttemptsError beyond MOST_PER_USER or MOST, DependencyDownError while ending.
        """
        if self._exiting():
            raise DependencyDownError("api", "the server is ending; connect again")
        mine = sum(client.user_id == user_id for client in self._clients)
        if mine >= MOST_PER_USER or len(self._clients) >= MOST:
            limit = f"{MOST_PER_USER} streams of yours" if mine >= MOST_PER_USER else "all streams"
            raise TooManyAttemptsError(
                f"{limit} are open; close one", retry_after=timedelta(seconds=10)
            )
        client = Client(user_id, credential, kinds)
        self._clients.add(client)
        try:
            [start] = await self._rows(queries.NOW_HORIZON)
            self._begin(start["horizon"])
            first, backlog = await self._missed(client, last_id, start)
        except BaseException:
            self._clients.discard(client)
            raise
        return self._stream(client, first, backlog, start)

    async def close(self) -> None:
        """End all streams and the reader."""
        for client in self._clients:
            client.end()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._engine is not None:
            await self._engine.dispose()

    async def _missed(
        self, client: Client, last_id: str | None, start: Mapping[str, Any]
    ) -> tuple[bytes, list[Told]]:
        """Return the stream's first words, and what the client missed."""
        first = f"retry: {_RECONNECT_MS}\n\n".encode()
        if not last_id:
            return first, []
        reset = first + b"event: reset\ndata: {}\n\n"
        known = _ID.fullmatch(last_id)
        if known is None:
            return reset, []
        horizon, seconds, _ = map(int, known.groups())
        oldest = (from_db(start["now"]) - RESUMABLE).timestamp()
        if horizon > start["horizon"] or seconds < oldest:
            return reset, []
        values = {"user_id": client.user_id, "since": horizon, "limit": MOST_RESUMED + 1}
        rows = await self._rows(queries.BACKLOG, **values)
        if len(rows) > MOST_RESUMED:
            return reset, []
        return first, [Told.of(row, horizon) for row in rows if row["type"] in client.kinds]

    async def _stream(
        self, client: Client, first: bytes, backlog: list[Told], start: Mapping[str, Any]
    ) -> AsyncIterator[bytes]:
        client.running = True
        sent = {told.seq for told in backlog}
        try:
            yield first
            for told in backlog:
                yield told.frame()
            # An id without data: where it resumes when nothing else comes.
            yield f"id: {start['horizon']}-{int(from_db(start['now']).timestamp())}-0\n\n".encode()
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT.total_seconds()):
                        item = await client.waiting.get()
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                if item is None:
                    return
                if item.seq not in sent:
                    yield item.frame()
        finally:
            self._clients.discard(client)

    def _begin(self, horizon: int) -> None:
        if self._task is None or self._task.done():
            self._since, self._seen = horizon, {}
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        """Read for as long as there are clients."""
        listener = Listener(self._direct_url(), channel=queries.CHANNEL)
        helpers = [asyncio.create_task(listener.run()), asyncio.create_task(self._watch_exit())]
        looked, down = boottime(), False
        try:
            while self._clients:
                try:
                    await self._read()
                    if boottime() - looked >= HEARTBEAT.total_seconds():
                        looked = boottime()
                        await self._look_after()
                    down = False
                except DBAPIError as error:
                    if not down:
                        _log.warning("streams.database_down", reason=type(error.orig).__name__)
                    down = True
                except Exception:
                    # A defect of ours must not end everybody's streams silently.
                    _log.exception("streams.defect")
                await listener.wait(_POLL)
            # Before anything is waited for: who comes from here on begins a reader of its own.
            self._task = None
        finally:
            for task in helpers:
                task.cancel()
            await asyncio.wait(helpers)

    async def _read(self) -> None:
        users = sorted({client.user_id for client in self._clients})
        found = await self._rows(
            queries.RECENT, since=self._since, users=users, seen=list(self._seen)
        )
        horizon = max(self._since, found[0]["horizon"])
        rows = [row for row in found if row["seq"] is not None]
        for client in list(self._clients):
            mine = [
                row
                for row in rows
                if row["user_id"] == client.user_id and row["type"] in client.kinds
            ]
            for row in mine:
                # Only after the last one is all of this look's behind it.
                told = Told.of(row, horizon if row is mine[-1] else self._since)
                try:
                    client.waiting.put_nowait(told)
                except asyncio.QueueFull:
                    client.end()  # too slow: it comes back and resumes
                    break
        self._seen |= {row["seq"]: row["xact"] for row in rows}
        self._since = horizon
        self._seen = {seq: xact for seq, xact in self._seen.items() if xact >= horizon}

    async def _look_after(self) -> None:
        """End the streams whose key or session is good no more, and forget those never begun."""
        ids = sorted({client.credential for client in self._clients})
        good = {row["id"] for row in await self._rows(STILL_GOOD, ids=ids)}
        for client in list(self._clients):
            if client.credential not in good:
                client.end()
            if not client.running and boottime() - client.began > _UNCLAIMED_SECONDS:
                self._clients.discard(client)

    async def _watch_exit(self) -> None:
        while not self._exiting():  # noqa: ASYNC110 - the server offers a flag, no event
            await asyncio.sleep(_EXIT_POLL_SECONDS)
        for client in self._clients:
            client.end()

    async def _rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        if self._engine is None:
            self._engine = make_async_engine(self._settings.require_database_url(), pool_size=2)
        async with self._engine.begin() as connection:
            result = await connection.execute(text(sql), values)
            return [dict(row) for row in result.mappings()]

    def _direct_url(self) -> str | None:
        """Where LISTEN works: past the pooler; None where there is only the pooler."""
        if self._settings.direct_url is not None:
            return self._settings.direct_url.get_secret_value()
        url = self._settings.require_database_url()
        return None if parse_database_url(url).pooled else url
