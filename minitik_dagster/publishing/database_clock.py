"""One clock decides: PostgreSQL's, carried on the machine's boot-time clock (engine.md R10)."""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.clock import Clock, SystemClock, boottime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT = 10


@dataclass(frozen=True)
class _Sample:
    offset: float
    """Database epoch seconds minus boot-time seconds, at the middle of the round trip."""
    error: float
    """Half the round trip: the offset is off by at most this."""


class DatabaseClock:
    """PostgreSQL's time without asking it: offset samples, the least round trip wins.

    `now()` needs one `sample()` first. `error` bounds how far `now()` may be off; a commit is sent at
    due + error, so never early. `skew` is this machine's own clock minus the database's.
    """

    def __init__(self, engine: AsyncEngine, wall: Clock | None = None) -> None:
        self._engine = engine
        self._wall = wall or SystemClock()
        self._samples: deque[_Sample] = deque(maxlen=_KEPT)
        self.skew = timedelta(0)

    async def sample(self, times: int = 3) -> None:
        """Ask the database its time `times` times and keep the samples."""
        async with self._engine.connect() as connection:
            for _ in range(times):
                before = boottime()
                row = await connection.execute(
                    text("SELECT extract(epoch FROM clock_timestamp())::float8")
                )
                theirs = float(row.scalar_one())
                after = boottime()
                self._samples.append(_Sample(theirs - (before + after) / 2, (after - before) / 2))
            await connection.rollback()
        self.skew = self._wall.now() - self.now()

    @property
    def _best(self) -> _Sample:
        return min(self._samples, key=lambda sample: sample.error)

    @property
    def error(self) -> timedelta:
        """How far `now()` may be from the database's own time."""
        return timedelta(seconds=self._best.error)

    def now(self) -> datetime:
        """Return the database's present instant, aware, in UTC."""
        return _EPOCH + timedelta(seconds=self._best.offset + boottime())

    def until(self, instant: datetime) -> float:
        """Seconds from now until `instant`; negative when it has passed."""
        return (instant - self.now()).total_seconds()
