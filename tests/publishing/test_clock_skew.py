"""One clock: PostgreSQL's. A worker's own is measured against it, reported, and refused beyond a bound."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import ConfigurationError
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.publishing import engine as engine_module
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.engine import dispatch
from tests.publishing.running import all_at, run_until


@dataclass(frozen=True)
class WrongClock:
    """A machine whose clock is off by `by`."""

    by: timedelta

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by


def off_by(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """Let dispatchers of this process run on such a machine."""

    def make(engine: AsyncEngine) -> DatabaseClock:
        return DatabaseClock(engine, WrongClock(by))

    monkeypatch.setattr(engine_module, "DatabaseClock", make)


# Skews are far larger than what a busy machine may lose between two of its own lines.
LOST = timedelta(seconds=60)


@pytest.mark.parametrize("seconds", [-3600, -300, 300, 3600])
def test_skew_is_measured_with_its_sign_and_moves_no_instant(
    database_url: str, seconds: int
) -> None:
    """Positive = this machine is ahead; `now` is the database's all the same."""

    async def main() -> tuple[DatabaseClock, datetime]:
        engine = make_async_engine(database_url)
        clock = DatabaseClock(engine, WrongClock(timedelta(seconds=seconds)))
        await clock.sample()
        async with engine.connect() as connection:
            asked = await connection.execute(text("SELECT clock_timestamp()"))
            theirs = asked.scalar_one()
        await engine.dispose()
        return clock, theirs

    clock, theirs = asyncio.run(main())
    assert abs(clock.skew - timedelta(seconds=seconds)) < LOST
    assert abs(clock.now() - theirs) < LOST


@pytest.mark.parametrize(("seconds", "sign"), [(300, r"\+"), (-300, "-")])
def test_a_worker_beyond_the_bound_is_refused_before_it_claims(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch, seconds: int, sign: str
) -> None:
    """The line says how far and what to do, and no dispatcher is registered."""
    assert workbench.settings.minitik_max_skew_seconds == 2
    off_by(monkeypatch, timedelta(seconds=seconds))
    with pytest.raises(ConfigurationError, match=rf"{sign}\d\d\d\.\d s off") as caught:
        asyncio.run(dispatch(workbench.settings, kind="resident"))
    assert len(caught.value.problems) == 1
    with workbench.engine.connect() as connection:
        found = connection.execute(text("SELECT count(*) FROM dispatchers")).scalar_one()
    assert found == 0


@pytest.mark.slow
def test_a_worker_within_the_bound_reports_its_skew_and_keeps_the_databases_instant(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten minutes off by its own clock where a quarter of an hour is allowed, and on time by PostgreSQL's."""
    off_by(monkeypatch, timedelta(minutes=10))
    workbench.settings = workbench.settings.model_copy(update={"minitik_max_skew_seconds": 900.0})
    account = workbench.add_account(Platform.YOUTUBE)
    due_at = workbench.now() + timedelta(seconds=4)
    ids = workbench.schedule(workbench.add_video(), [(account, Platform.YOUTUBE)], due_at)
    run_until(workbench, ids, all_at("live"))
    (row,) = workbench.rows(ids)
    assert row.committed_at is not None
    assert timedelta(0) <= row.committed_at - due_at < LOST
    with workbench.engine.connect() as connection:
        skew = connection.execute(text('SELECT "skewMs" FROM dispatchers')).scalar_one()
    assert abs(timedelta(milliseconds=skew) - timedelta(minutes=10)) < LOST
