"""Probing on this environment's servers: every account that is due, or one now."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from minitik_dagster.accounts.admission import admit, may_ask
from minitik_dagster.accounts.probes import Probe, ProbeReport
from minitik_dagster.accounts.probing import RUN_FOR, Prober
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.errors import NotFoundError
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.resilience.breaker import Breaker
from minitik_dagster.resilience.limiter import Limiter
from minitik_dagster.resilience.limits_table import budgets
from minitik_dagster.settings import Settings

# A chore of the background: a few at a time reach thousands of accounts in a run.
AT_ONCE: Final = 4
_GUARD_SECONDS: Final = 300.0
_ONE_FOR: Final = timedelta(minutes=1)


async def probe_due(settings: Settings, *, run_for: timedelta = RUN_FOR) -> ProbeReport:
    """Ask about every account that is due, for `run_for` at most.

    Safe at any time and side by side. Raises ConfigurationError when the environment is unfit, and
    SchemaVersionError for a database of another version or stamped for other platforms; what came of
    an account stands in the report and in its row.
    """
    async with _prober(settings, at_once=AT_ONCE, run_for=run_for) as prober:
        return await prober.run()


async def probe_one(settings: Settings, account_id: str) -> Probe:
    """Ask about one account now, due or not.

    Raises NotFoundError; otherwise as probe_due. One that is not CONNECTED is left alone.
    """
    async with _prober(settings, at_once=1, run_for=_ONE_FOR) as prober:
        probe = await prober.one(account_id)
    if probe is None:
        raise NotFoundError(f"no account {account_id[:64]!r}; see: minitik accounts list")
    return probe


@asynccontextmanager
async def _prober(settings: Settings, *, at_once: int, run_for: timedelta) -> AsyncIterator[Prober]:
    may_ask(settings)
    vault = Vault.from_settings(settings)
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    limiter = Limiter(redis_url, budgets=budgets(settings))
    breaker = Breaker(redis_url)
    database_url = settings.require_database_url()
    engine = make_async_engine(database_url, pool_size=at_once)
    # Under a connection_limit of one the accounts wait for each other here.
    guards = make_async_engine(database_url, pool_size=at_once, pool_timeout=_GUARD_SECONDS)
    try:
        await admit(engine, settings)
        async with PlatformClients(settings) as clients:
            yield Prober(
                engine,
                guards,
                vault,
                clients.client,
                limiter,
                breaker,
                at_once=at_once,
                min_interval=timedelta(seconds=settings.minitik_refresh_min_seconds),
                run_for=run_for,
            )
    finally:
        await engine.dispose()
        await guards.dispose()
        await breaker.aclose()
        await limiter.aclose()
