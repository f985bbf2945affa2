"""Refreshing: once at a time, saved before use, never lost."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from minitik_dagster.accounts.tokens import (
    AccountToken,
    open_token,
    read_token,
    refresh_token,
)
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_async_engine, make_engine
from minitik_dagster.db.models import Account, User
from minitik_dagster.db.types import AccountStatus, Platform, SubscriptionTier
from minitik_dagster.errors import NotFoundError, RevokedError, TransientError
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.platforms.port import PlatformClient, TokenSet
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.settings import Settings

VAULT = Vault([bytes.fromhex("ab" * 32)])
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url)
    yield made
    made.dispose()


@pytest.fixture
def platform_settings(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    return Settings()


def add_account(engine: Engine, sandbox: SandboxServer, platform: Platform) -> str:
    given = sandbox.create_account(platform.value.lower())
    refresh = given["refreshToken"]
    with Session(engine) as session, session.begin():
        session.add(
            User(
                id="u1",
                email="u1@example.org",
                subscription_tier=SubscriptionTier.FREE,
                created_at=NOW,
                updated_at=NOW,
            )
        )
        session.flush()
        session.add(
            Account(
                id="a1",
                user_id="u1",
                platform=platform,
                platform_account_id=given["platformAccountId"],
                access_token=VAULT.seal(given["accessToken"]),
                refresh_token=VAULT.seal(refresh) if refresh else None,
                status=AccountStatus.CONNECTED,
                connected_at=NOW,
            )
        )
    return "a1"


def stored(engine: Engine) -> tuple[str, str | None, str]:
    with engine.connect() as connection:
        row = connection.execute(
            text('SELECT "accessToken", "refreshToken", status FROM accounts')
        ).one()
    return VAULT.open(row[0]), VAULT.open(row[1]) if row[1] else None, row[2]


async def refresh_many(
    url: str, settings: Settings, platform: Platform, times: int
) -> list[AccountToken]:
    engine = make_async_engine(url, pool_size=times)
    try:
        async with PlatformClients(settings) as clients:
            stale = await read_token(engine, VAULT, "a1")
            return await asyncio.gather(
                *(
                    refresh_token(
                        engine,
                        VAULT,
                        clients.client(platform),
                        "a1",
                        stale_version=stale.version,
                    )
                    for _ in range(times)
                )
            )
    finally:
        await engine.dispose()


def test_many_at_once_call_the_platform_once_and_all_get_the_new_token(
    database_url: str, engine: Engine, sandbox: SandboxServer, platform_settings: Settings
) -> None:
    """Single-use refresh tokens are burnt once: the row lock and the version decide."""
    add_account(engine, sandbox, Platform.TIKTOK)
    before = stored(engine)
    tokens = asyncio.run(refresh_many(database_url, platform_settings, Platform.TIKTOK, 8))
    after = stored(engine)
    assert len({token.version for token in tokens}) == 1
    assert {token.access_token.get_secret_value() for token in tokens} == {after[0]}
    assert after[0] != before[0]
    assert after[1] != before[1]
    calls = [call for call in sandbox.calls() if call["operation"] == "token"]
    assert len(calls) == 1


def test_an_answer_without_a_refresh_token_keeps_the_old_one(
    database_url: str, engine: Engine, sandbox: SandboxServer, platform_settings: Settings
) -> None:
    """Google's refresh answer has none; the stored one must survive."""
    add_account(engine, sandbox, Platform.YOUTUBE)
    before = stored(engine)
    asyncio.run(refresh_many(database_url, platform_settings, Platform.YOUTUBE, 1))
    after = stored(engine)
    assert after[0] != before[0]
    assert after[1] == before[1]


def test_a_passing_failure_leaves_the_account_connected(
    database_url: str, engine: Engine, sandbox: SandboxServer, platform_settings: Settings
) -> None:
    """Only the invalid_grant class ends an account."""
    add_account(engine, sandbox, Platform.TIKTOK)
    before = stored(engine)
    sandbox.add_fault(platform="tiktok", operation="token", kind="status", status=503, count=1)
    with pytest.raises(TransientError):
        asyncio.run(refresh_many(database_url, platform_settings, Platform.TIKTOK, 1))
    assert stored(engine) == before


def test_a_refused_refresh_token_ends_the_account(
    database_url: str, engine: Engine, sandbox: SandboxServer, platform_settings: Settings
) -> None:
    """EXPIRED or REVOKED, and reading its token says so."""
    add_account(engine, sandbox, Platform.TIKTOK)
    with engine.begin() as connection:
        connection.execute(
            text('UPDATE accounts SET "refreshToken" = :sealed'),
            {"sealed": VAULT.seal("not-a-refresh-token")},
        )
    with pytest.raises(RevokedError):
        asyncio.run(refresh_many(database_url, platform_settings, Platform.TIKTOK, 1))
    assert stored(engine)[2] in {"EXPIRED", "REVOKED"}


def test_a_token_never_shows_itself(engine: Engine) -> None:
    """Repr is for logs."""
    token = AccountToken("a1", SecretStr("act.secret-token"), "v", None)
    assert "secret-token" not in repr(token)


class _Platform:
    """Stands where a platform client does, to be cut at a chosen moment; the database is real."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.calls = 0

    async def refresh(self, access_token: SecretStr, refresh_token: SecretStr | None) -> TokenSet:
        """Answer when the test says so."""
        self.calls += 1
        self.asked.set()
        await self.answer.wait()
        return TokenSet(
            access_token=SecretStr("access-2"),
            refresh_token=SecretStr("refresh-2"),
            expires_in=timedelta(hours=2),
        )


def play(url: str, act: Callable[[AsyncEngine, _Platform, str], Awaitable[None]]) -> _Platform:
    """Run `act` with an engine, a platform and the version of the present token."""

    async def main() -> _Platform:
        engine, platform = make_async_engine(url, pool_size=2), _Platform()
        try:
            stale = await read_token(engine, VAULT, "a1")
            await act(engine, platform, stale.version)
        finally:
            await engine.dispose()
        return platform

    return asyncio.run(main())


def refreshing(
    engine: AsyncEngine, platform: _Platform, version: str
) -> asyncio.Task[AccountToken]:
    client = cast("PlatformClient", platform)
    return asyncio.create_task(refresh_token(engine, VAULT, client, "a1", stale_version=version))


def test_a_dispatcher_that_drains_meanwhile_still_stores_the_new_tokens(
    database_url: str, engine: Engine, sandbox: SandboxServer
) -> None:
    """The platform has used the old refresh token up: losing the answer would end the account."""
    add_account(engine, sandbox, Platform.TIKTOK)

    async def act(pool: AsyncEngine, platform: _Platform, version: str) -> None:
        task = refreshing(pool, platform, version)
        await platform.asked.wait()
        task.cancel()
        asyncio.get_running_loop().call_soon(platform.answer.set)
        with pytest.raises(asyncio.CancelledError):
            await task

    play(database_url, act)
    assert stored(engine)[:2] == ("access-2", "refresh-2")


def test_a_connection_that_breaks_meanwhile_still_stores_the_new_tokens(
    database_url: str, engine: Engine, sandbox: SandboxServer
) -> None:
    """PostgreSQL ended the session while the platform answered: stored on another connection."""
    add_account(engine, sandbox, Platform.TIKTOK)

    async def act(pool: AsyncEngine, platform: _Platform, version: str) -> None:
        task = refreshing(pool, platform, version)
        await platform.asked.wait()
        with engine.begin() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        platform.answer.set()
        token = await task
        assert token.access_token.get_secret_value() == "access-2"

    play(database_url, act)
    assert stored(engine) == ("access-2", "refresh-2", "CONNECTED")


def test_the_life_of_a_token_is_counted_by_the_databases_clock_in_utc(
    database_url: str, engine: Engine, sandbox: SandboxServer
) -> None:
    """The server's TimeZone is Asia/Kathmandu; tokenExpiresAt is UTC without zone."""
    add_account(engine, sandbox, Platform.TIKTOK)

    async def act(pool: AsyncEngine, platform: _Platform, version: str) -> None:
        platform.answer.set()
        token = await refreshing(pool, platform, version)
        assert token.expires_at is not None
        left = token.expires_at - datetime.now(UTC)
        assert timedelta(hours=1, minutes=59) < left <= timedelta(hours=2, seconds=5)

    play(database_url, act)


@pytest.mark.parametrize("sealed", ["", VAULT.seal("")], ids=["nothing", "a sealed nothing"])
def test_an_account_without_a_token_asks_to_be_reconnected(sealed: str) -> None:
    with pytest.raises(RevokedError, match="reconnect"):
        open_token(VAULT, "a1", sealed, None)


def test_an_account_that_is_not_connected_lends_no_token(
    database_url: str, engine: Engine, sandbox: SandboxServer
) -> None:
    """Whatever is still stored: REVOKED means no call is made with it."""
    add_account(engine, sandbox, Platform.TIKTOK)
    with engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET status = 'REVOKED'"))

    async def read() -> None:
        pool = make_async_engine(database_url)
        try:
            with pytest.raises(RevokedError, match="REVOKED"):
                await read_token(pool, VAULT, "a1")
            with pytest.raises(NotFoundError):
                await read_token(pool, VAULT, "a2")
        finally:
            await pool.dispose()

    asyncio.run(read())
