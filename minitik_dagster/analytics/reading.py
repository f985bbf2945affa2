"""A run that reads numbers on this environment's servers: made, admitted, closed again."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from minitik_dagster.accounts.admission import may_ask
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.analytics.snapshots import RUN_FOR, SnapshotReport, Snapshots
from minitik_dagster.analytics.store import AnalyticsStore
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.publishing.admission import admit
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.resilience.breaker import Breaker
from minitik_dagster.resilience.limiter import Limiter
from minitik_dagster.resilience.limits_table import budgets
from minitik_dagster.settings import Settings

# Accounts read at once, the lock and the pages of due posts.
_POOL = 10


@asynccontextmanager
async def snapshots_of(
    settings: Settings, *, run_for: timedelta = RUN_FOR
) -> AsyncIterator[Snapshots]:
    """Yield what reads numbers, on connections of its own.

    Raises ConfigurationError where this deployment asks no platform or the environment is unfit,
    SchemaVersionError for a database of another version or stamped for other platforms, and
    DependencyDownError where MongoDB does not answer.
    """
    may_ask(settings)
    vault = Vault.from_settings(settings)
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with contextlib.AsyncExitStack() as stack:
        store = AnalyticsStore.from_settings(settings)
        stack.callback(store.close)
        store.ensure()
        engine = make_async_engine(settings.require_database_url(), pool_size=_POOL)
        stack.push_async_callback(engine.dispose)
        await admit(engine, settings, settings.minitik_instance or "default")
        clock = DatabaseClock(engine)
        await clock.sample()
        limiter = Limiter(redis_url, budgets=budgets(settings))
        breaker = Breaker(redis_url)
        await stack.enter_async_context(contextlib.aclosing(limiter))
        await stack.enter_async_context(contextlib.aclosing(breaker))
        clients = await stack.enter_async_context(PlatformClients(settings))
        yield Snapshots(
            engine, store, vault, clients.client, limiter, breaker, clock, run_for=run_for
        )


async def read_hours(
    settings: Settings, slots: Sequence[datetime]
) -> dict[datetime, SnapshotReport]:
    """Read what is due at each hour and not there yet, the latest hour first; errors as snapshots_of's.

    What can be had no more costs a question to the database; what can is asked for while it can.
    """
    reports = {}
    async with snapshots_of(settings) as snapshots:
        for slot in sorted(slots, reverse=True):
            reports[slot] = await snapshots.run(slot)
            snapshots.report = SnapshotReport()
    return reports
