"""The demo user can publish at once, and starting again changes no id."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import owner_of
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.models import Account, User
from minitik_dagster.db.types import AccountStatus, Platform, SubscriptionTier
from minitik_dagster.local.seed import seed_demo
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.scheduling.choices import default_privacy
from minitik_dagster.settings import Settings, load_settings

KEY = "ab" * 32


@pytest.fixture
def settings(
    database_url: str, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    for name, value in sandbox.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    return load_settings()


def test_the_demo_user_has_one_connected_account_per_platform_with_sealed_tokens(
    settings: Settings, sandbox: SandboxServer
) -> None:
    """Tokens are stored sealed and are the ones the sandbox gave out; TikTok has its privacy."""
    seeded = seed_demo(settings, sandbox.url)
    vault = Vault.from_settings(settings)
    engine = make_engine(settings.require_database_url())
    with Session(engine) as session:
        user = session.scalars(select(User)).one()
        assert user.subscription_tier is SubscriptionTier.BUSINESS
        accounts = session.scalars(select(Account).order_by(Account.platform)).all()
        assert {account.platform for account in accounts} == set(Platform)
        assert {account.id for account in accounts} == set(seeded.account_ids)
        for account in accounts:
            assert account.status is AccountStatus.CONNECTED
            assert account.access_token not in vault.open(account.access_token)
            assert account.token_expires_at is not None
        tiktok = next(item for item in accounts if item.platform is Platform.TIKTOK)
        assert default_privacy(tiktok) == "PUBLIC_TO_EVERYONE"
        known = {
            item["platformAccountId"]
            for item in sandbox.call("GET", "/_sandbox/accounts")["accounts"]
        }
        assert {account.platform_account_id for account in accounts} <= known
    engine.dispose()


def test_seeding_again_keeps_every_id_and_retires_the_old_keys(
    settings: Settings, sandbox: SandboxServer
) -> None:
    """Keys are minted at each start: those of the last one work no longer."""
    first, second = seed_demo(settings, sandbox.url), seed_demo(settings, sandbox.url)
    assert second.account_ids == first.account_ids
    engine = make_engine(settings.require_database_url())
    with Session(engine) as session, session.begin():
        assert owner_of(session, first.api_key) is None
        owner, admin = owner_of(session, second.api_key), owner_of(session, second.admin_api_key)
        assert owner is not None
        assert admin is not None
        assert "admin" not in owner.scopes
        assert owner.scopes < admin.scopes
        assert owner.user_id == admin.user_id
    engine.dispose()
    assert "mtk_" not in repr(second)


def test_another_loopback_server_gets_made_up_tokens(settings: Settings) -> None:
    """An emulator without our controls is seeded all the same."""
    seeded = seed_demo(settings, "http://127.0.0.1:9")
    assert len(seeded.account_ids) == len(Platform)
