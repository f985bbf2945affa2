"""Runs of probes in which waiting takes no time, and eyes on what came of them."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from minitik_dagster.accounts import probe_health
from minitik_dagster.accounts.probes import ProbeReport
from minitik_dagster.accounts.probing import Prober
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.db.types import Platform
from minitik_dagster.platforms.port import PlatformClient
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.resilience.breaker import Breaker
from minitik_dagster.resilience.limiter import Limiter
from minitik_dagster.settings import LimitName
from tests.accounts.scene import AccountScene

PROBE = {Platform.TIKTOK: "profile", Platform.INSTAGRAM: "profile", Platform.YOUTUBE: "channel"}
OURS = {"details": {"scopes": ["as the platform granted"]}}
HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


def run(
    scene: AccountScene,
    *,
    budgets: dict[LimitName, int] | None = None,
    at_once: int = 4,
    runs: int = 1,
    on_ask: Any = None,
) -> tuple[list[ProbeReport], Sequence[float]]:
    """So many runs side by side, in which waiting takes no time; their reports and the waits."""
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    async def main() -> list[ProbeReport]:
        database_url = scene.environment["DATABASE_URL"]
        engine, guards = (
            make_async_engine(database_url, pool_size=at_once * runs) for _ in range(2)
        )
        redis_url = scene.environment["REDIS_URL"]
        limiter = Limiter(redis_url, budgets=budgets, sleep=wait)
        breaker = Breaker(redis_url)
        try:
            async with PlatformClients(scene.settings) as clients:

                def client(platform: Platform) -> PlatformClient:
                    if on_ask is not None:
                        on_ask()
                    return clients.client(platform)

                probers = [
                    Prober(
                        engine,
                        guards,
                        scene.vault,
                        client,
                        limiter,
                        breaker,
                        at_once=at_once,
                        min_interval=timedelta(seconds=60),
                        run_for=timedelta(seconds=40),
                        sleep=wait,
                    )
                    for _ in range(runs)
                ]
                return await asyncio.gather(*(prober.run() for prober in probers))
        finally:
            await breaker.aclose()
            await limiter.aclose()
            await engine.dispose()
            await guards.dispose()

    return asyncio.run(main()), waits


def asked(scene: AccountScene) -> list[dict[str, Any]]:
    """The questions that the platforms have seen."""
    return [call for call in scene.sandbox.calls() if call["operation"] in PROBE.values()]


def outcome(scene: AccountScene, account_id: str) -> str | None:
    return scene.row(account_id).probe_outcome


def bad_access(scene: AccountScene) -> str:
    """A token that the platforms do not know (any more)."""
    return scene.vault.seal("no-token-of-theirs")


def well_and_withdrawn(scene: AccountScene) -> list[str]:
    """Two accounts whose platforms' answers are settled at once, a good and a bad one."""
    well, withdrawn = (scene.account(Platform.INSTAGRAM) for _ in range(2))
    scene.sandbox.add_fault(
        platform="instagram",
        operation="profile",
        kind="revoke",
        account=scene.row(withdrawn).platform_account_id,
    )
    return [well, withdrawn]


def checks(scene: AccountScene) -> tuple[list[str], list[str]]:
    """The accounts that the two checks find."""
    with scene.engine.connect() as connection:
        return (
            list(probe_health.unprobed(connection).ids),
            list(probe_health.out_of_order(connection).ids),
        )
