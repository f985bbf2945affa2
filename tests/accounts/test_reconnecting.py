"""An account is connected again while it is refreshed, or after it was disconnected."""

from datetime import timedelta

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.connect import store
from minitik_dagster.accounts.oauth_flow import Pending, redirect_uri
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.platforms.port import Identity, TokenSet
from tests.accounts.scene import AccountScene, wait_for

pytestmark = pytest.mark.slow


def granted(scene: AccountScene, account_id: str) -> tuple[TokenSet, Identity]:
    """What TikTok hands out when the same person allows access once more."""
    who = scene.row(account_id).platform_account_id
    given = scene.sandbox.create_account("tiktok", platformAccountId=who)
    tokens = TokenSet(
        SecretStr(given["accessToken"]),
        timedelta(seconds=given["expiresIn"]),
        SecretStr(given["refreshToken"]),
        timedelta(seconds=given["refreshExpiresIn"]),
        ("video.publish",),
    )
    return tokens, Identity(who, "creator")


def write(
    scene: AccountScene, session: Session, tokens: TokenSet, identity: Identity
) -> tuple[str, str]:
    """Store a reconnect in the session's transaction; return its tokens."""
    uri = redirect_uri(scene.settings, Platform.TIKTOK)
    pending = Pending(scene.user_id, Platform.TIKTOK, uri, None, None)
    assert not store(session, scene.vault, pending, tokens, identity).created
    assert tokens.refresh_token is not None
    return tokens.access_token.get_secret_value(), tokens.refresh_token.get_secret_value()


def takes(scene: AccountScene, refresh_token: str) -> bool:
    """Whether TikTok gives new tokens for it; it is used up by the question."""
    form = {
        "client_key": scene.settings.tiktok_client_id,
        "client_secret": "sandbox-tiktok-secret",
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
    }
    url = f"{scene.settings.tiktok_api_base_url}/v2/oauth/token/"
    return "access_token" in httpx.post(url, data=form, trust_env=False).json()


def test_a_reconnect_during_a_refresh_ends_with_the_newest_grants_tokens(
    scene: AccountScene,
) -> None:
    """The refresh has asked and waits for its answer: the reconnect is written after it."""
    account = scene.account(Platform.TIKTOK)
    scene.sandbox.add_fault(platform="tiktok", operation="token", kind="delay", delayMs=1500)
    refreshing = scene.start("accounts", "refresh", account)
    wait_for(lambda: bool(scene.token_calls()), "the refresh at the platform")
    with Session(scene.engine) as session, session.begin():
        newest = write(scene, session, *granted(scene, account))
    _, err = refreshing.communicate(timeout=60)
    assert refreshing.returncode == 0, err
    assert scene.tokens(account) == newest
    assert scene.row(account).status is AccountStatus.CONNECTED


def test_a_refresh_during_a_reconnect_renews_the_newest_grant_and_not_the_old_one(
    scene: AccountScene,
) -> None:
    """The reconnect is written and not committed: the refresh waits, and reads what was granted."""
    account = scene.account(Platform.TIKTOK)
    _, old = scene.tokens(account)
    with Session(scene.engine) as session, session.begin():
        _, newest = write(scene, session, *granted(scene, account))
        refreshing = scene.start("accounts", "refresh", account)
        wait_for(scene.waiting_for_a_lock, "the refresh at the row's lock")
    _, err = refreshing.communicate(timeout=60)
    assert refreshing.returncode == 0, err
    assert len(scene.token_calls()) == 1
    present = scene.tokens(account)
    assert all(present)
    # Single-use: TikTok takes what was not used yet, and only that.
    assert [takes(scene, token) for token in (newest, old, present[1])] == [False, True, True]


def test_a_reconnect_of_a_disconnected_account_fills_its_tokens_and_forgets_the_parting(
    scene: AccountScene,
) -> None:
    """The same row: CONNECTED, no `disconnectedAt`, both tokens there, ready to be refreshed."""
    account = scene.account(Platform.TIKTOK)
    scene.run(
        "UPDATE accounts SET status = 'REVOKED', \"accessToken\" = '', \"refreshToken\" = NULL, "
        '"tokenExpiresAt" = NULL, "disconnectedAt" = "connectedAt" WHERE id = :id',
        id=account,
    )
    with Session(scene.engine) as session, session.begin():
        newest = write(scene, session, *granted(scene, account))
    row = scene.row(account)
    assert (row.status, row.disconnected_at) == (AccountStatus.CONNECTED, None)
    assert row.token_expires_at is not None
    assert scene.tokens(account) == newest
    with scene.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM accounts")).scalar_one() == 1
