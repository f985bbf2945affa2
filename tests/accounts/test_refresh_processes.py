"""Fifty processes refresh one account whose refresh token rotates: the platform is asked once."""

import asyncio
import multiprocessing
from multiprocessing.synchronize import Barrier

import pytest

from minitik_dagster.accounts.refresh_due import refresh_one
from minitik_dagster.accounts.tokens import read_token, refresh_token
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.settings import Settings
from tests.accounts.scene import AccountScene

PROCESSES = 50


def _refresh(account: str, stale: str, ready: Barrier, got: "multiprocessing.Queue[str]") -> None:
    """One process: its own connections, its own clients, all at the same instant."""
    settings = Settings()
    vault = Vault.from_settings(settings)

    async def main() -> str:
        engine = make_async_engine(settings.require_database_url(), pool_size=1)
        try:
            async with PlatformClients(settings) as clients:
                await asyncio.to_thread(ready.wait, 60)
                token = await refresh_token(
                    engine, vault, clients.client(Platform.TIKTOK), account, stale_version=stale
                )
                return token.version
        finally:
            await engine.dispose()

    got.put(asyncio.run(main()))


def _nudge(account: str, ready: Barrier, got: "multiprocessing.Queue[str]") -> None:
    """One process that refreshes whatever is there, as the CLI and the API do."""
    settings = Settings()
    ready.wait(60)
    got.put(str(asyncio.run(refresh_one(settings, account))))


@pytest.mark.slow
def test_fifty_processes_ask_the_platform_once(scene: AccountScene) -> None:
    """All get the one new token, and the account stays connected."""
    account = scene.account(Platform.TIKTOK)

    async def version() -> str:
        engine = make_async_engine(scene.environment["DATABASE_URL"], pool_size=1)
        try:
            return (await read_token(engine, scene.vault, account)).version
        finally:
            await engine.dispose()

    stale = asyncio.run(version())
    versions = run_processes(_refresh, account, stale)
    assert len(versions) == PROCESSES
    assert set(versions) == {asyncio.run(version())}
    assert stale not in versions
    assert len(scene.token_calls()) == 1
    row = scene.row(account)
    assert (row.status, row.token_version) == (AccountStatus.CONNECTED, 2)


@pytest.mark.slow
def test_fifty_nudges_at_once_ask_the_platform_once(scene: AccountScene) -> None:
    """None of them knows a version: the minimum interval stands for it."""
    account = scene.account(Platform.TIKTOK)
    done = run_processes(_nudge, account)
    assert sorted(done) == ["False"] * (PROCESSES - 1) + ["True"]
    assert len(scene.token_calls()) == 1
    assert scene.row(account).status is AccountStatus.CONNECTED


def run_processes(target: object, *arguments: str) -> list[str]:
    """Fork real processes that all begin at once; what each of them got."""
    fork = multiprocessing.get_context("fork")
    ready, got = fork.Barrier(PROCESSES), fork.Queue()
    processes = [
        fork.Process(target=target, args=(*arguments, ready, got))  # type: ignore[arg-type]
        for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    answers = [got.get(timeout=100) for _ in processes]
    for process in processes:
        process.join(timeout=30)
        assert process.exitcode == 0
    return answers
