"""How far this database has come: a counter in it, mirrored to the bucket each minute.

The database raises it first and the bucket hears of it afterwards, so the mirror is never ahead of the
database it belongs to. Where it is, the database is an older one: it was restored, or lost what it had
acknowledged. The counter is raised only after a look at the mirror: a restored database would else catch
up with it unseen while the bucket does not answer.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

import structlog
from sqlalchemy import Connection, ExceptionContext, RowMapping, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.clock import iso_z
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import DependencyDownError
from minitik_dagster.ids import new_id
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.publishing import epoch_queries as queries
from minitik_dagster.publishing.quarantine import Span, open_quarantine
from minitik_dagster.publishing.witness import Witness

_log = structlog.get_logger(__name__)
EVERY: Final = timedelta(seconds=60)
# The mirror may lag by a tick and the time it takes to write it.
SLACK: Final = timedelta(minutes=2)
# A bucket that does not answer delays no publishing for longer than this.
PATIENCE: Final = timedelta(seconds=4)
_LOOK_AGAIN: Final = timedelta(seconds=10)
# So long the posts of after the span wait for the platforms' answers about those in it.
_RECONCILE_FOR: Final = timedelta(seconds=120)
# Who else carries posts notices a lost connection within its poll of a second, and then speaks.
_OTHERS_SPEAK: Final = timedelta(seconds=3)
_LARGEST: Final = 4_096


@dataclass(frozen=True)
class Epoch:
    """The counter of one database, and when it was raised."""

    database: str
    number: int
    at: datetime

    @classmethod
    def from_row(cls, row: RowMapping) -> Self:
        """Read a row of the epoch's statements."""
        return cls(row["database"], row["number"], from_db(row["at"]))


def mirror_key(database: str) -> str:
    """`operations/epochs/{database}.json`."""
    return f"operations/epochs/{database}.json"


def read_mirror(store: ObjectStore, database: str) -> Epoch | None:
    """Return what the bucket knows of a database; None where nothing does.

    Raises DependencyDownError when the bucket does not answer or holds something else there.
    """
    key = mirror_key(database)
    if store.head(key) is None:
        return None
    try:
        facts = json.loads(store.read(key, 0, _LARGEST))
        at = datetime.fromisoformat(facts["at"]).astimezone(UTC)
        return Epoch(str(facts["database"]), int(facts["epoch"]), at)
    except (ValueError, KeyError, TypeError):
        raise DependencyDownError("s3", f"The object {key} is no epoch") from None


def write_mirror(store: ObjectStore, epoch: Epoch) -> None:
    """Tell the bucket; DependencyDownError when it does not take it."""
    facts = {"database": epoch.database, "epoch": epoch.number, "at": iso_z(epoch.at)}
    store.put(mirror_key(epoch.database), json.dumps(facts).encode(), "application/json")


def read_epoch(connection: Connection, *, lock: bool = False) -> Epoch | None:
    """Return the database's own; None before its first."""
    sql = queries.LOCKED_EPOCH if lock else queries.EPOCH
    row = connection.execute(text(sql)).mappings().one_or_none()
    return None if row is None else Epoch.from_row(row)


def mirrored_at(connection: Connection) -> datetime | None:
    """Return when the bucket last took it; None before the first time."""
    at = connection.execute(text(queries.MIRRORED_AT)).scalar_one_or_none()
    return None if at is None else from_db(at)


def step(connection: Connection, mirrored: Epoch | None) -> Epoch | None:
    """Compare with the mirror, then go on: return what the bucket is to be told, if anything.

    A database that is behind is put into quarantine, and its counter raised beyond the mirror's.
    `mirrored` must have been read before this transaction began.
    """
    own = read_epoch(connection, lock=True)
    if own is not None and mirrored is not None and mirrored.number > own.number:
        span = Span(own.at, mirrored.at + SLACK)
        open_quarantine(connection, span, epoch=own.number, mirrored=mirrored.number)
        raised = connection.execute(text(queries.RAISE), {"number": mirrored.number + 1})
        return Epoch.from_row(raised.mappings().one())
    values = {"database": new_id(), "every": EVERY - timedelta(seconds=5)}
    row = connection.execute(text(queries.TICK), values).mappings().one_or_none()
    if row is not None:
        return Epoch.from_row(row)
    # The mirror was lost, or could not be written: said again.
    return own if own is not None and (mirrored is None or mirrored.number < own.number) else None


def note_mirrored(connection: Connection, epoch: Epoch) -> None:
    """Remember when the bucket was told."""
    connection.execute(text(queries.MIRRORED), {"number": epoch.number})


@dataclass
class EpochKeeper:
    """A dispatcher's keeper: before it claims, once a minute, and after the database was away.

    `reconcile` asks the platforms about publications in quarantine.
    """

    engine: AsyncEngine
    objects: ObjectStore
    reconcile: Callable[[list[str]], Awaitable[Any]]
    witness: Witness = field(default_factory=Witness)
    owner: str = ""
    doubtful: bool = False
    """The database was away since the last look: another server may answer now, with less than we wrote."""
    _seen: bool = False
    _told: bool = False

    def watch(self, *engines: AsyncEngine) -> None:
        """Begin to doubt whenever a connection of these is lost, whoever used it.

        The rest of its pool is replaced in silence then: the one that claims next may not hear of it.
        """

        def heard(context: ExceptionContext) -> None:
            if context.is_disconnect:
                self.doubtful = True

        for engine in engines:
            event.listen(engine.sync_engine, "handle_error", heard)

    async def look(self) -> None:
        """Look for our own steps and at the mirror, and settle an open quarantine.

        After a lost connection it waits until other dispatchers have looked for theirs. A bucket that does
        not answer within four seconds is left for the next look. DBAPIError where the database is away:
        then the doubt stays.
        """
        doubtful, self.doubtful = self.doubtful, False
        try:
            await self._look_for_our_own(doubtful=doubtful)
            await self._look_at_the_mirror()
            await self._settle()
        except DBAPIError:
            self.doubtful = True
            raise

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            pause = EVERY if self._seen and not self._told else _LOOK_AGAIN
            await asyncio.sleep(pause.total_seconds())
            with contextlib.suppress(DBAPIError):
                await self.look()

    async def _look_for_our_own(self, *, doubtful: bool) -> None:
        async with self.engine.begin() as connection:
            missed = await connection.run_sync(self._miss)
            asked = await connection.execute(text(queries.OTHERS), {"owner": self.owner})
            others = asked.scalar_one()
        self.witness.settled(missed)
        if doubtful and others:
            await asyncio.sleep(_OTHERS_SPEAK.total_seconds())

    async def _look_at_the_mirror(self) -> None:
        async with self.engine.connect() as connection:
            own = await connection.run_sync(read_epoch)
        try:
            mirrored = (
                None
                if own is None
                else await self._within_patience(read_mirror, self.objects, own.database)
            )
            async with self.engine.begin() as connection:
                telling = await connection.run_sync(step, mirrored)
            if telling is not None:
                await self._within_patience(write_mirror, self.objects, telling)
                async with self.engine.begin() as connection:
                    await connection.run_sync(note_mirrored, telling)
            self._seen, self._told = True, False
        except (DependencyDownError, TimeoutError) as error:
            if not self._told:
                _log.warning(
                    "epoch.unmirrored",
                    reason=type(error).__name__,
                    means="a database restored now would not be noticed before the bucket answers",
                )
            self._told = True

    def _miss(self, connection: Connection) -> Iterable[str]:
        """Open a quarantine where the database has forgotten steps that it had taken from us."""
        missed = self.witness.missed(connection)
        if missed:
            # It may have forgotten more than what is ours, and what came a little before.
            now = from_db(connection.execute(text(queries.PRESENT)).scalar_one())
            open_quarantine(connection, Span(min(missed.values()) - EVERY, now))
        return missed

    async def _settle(self) -> None:
        async with self.engine.connect() as connection:
            rows = (await connection.execute(text(queries.UNRECONCILED))).mappings().all()
        for row in rows:
            if row["ids"]:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(
                        self.reconcile(list(row["ids"])), _RECONCILE_FOR.total_seconds()
                    )
            # What could not be asked stays in review, and is asked again with the day's others.
            async with self.engine.begin() as connection:
                await connection.execute(text(queries.RECONCILED), {"id": row["id"]})

    async def _within_patience(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.wait_for(asyncio.to_thread(call, *arguments), PATIENCE.total_seconds())


def keep(connect: Callable[[], Any], store: ObjectStore) -> None:
    """One look without an event loop, as the API process makes it; quarantines are settled elsewhere.

    `connect` opens a transaction. Raises DependencyDownError when the bucket does not answer.
    """
    with connect() as connection:
        own = read_epoch(connection)
    mirrored = None if own is None else read_mirror(store, own.database)
    with connect() as connection:
        telling = step(connection, mirrored)
    if telling is not None:
        write_mirror(store, telling)
        with connect() as connection:
            note_mirrored(connection, telling)
