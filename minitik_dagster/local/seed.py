"""The demo user with one connected account per platform, and keys minted anew at each start."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import create_key
from minitik_dagster.accounts.scopes import SCOPES
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.models import Account, User
from minitik_dagster.db.tables import ApiKey
from minitik_dagster.db.types import AccountStatus, Platform, SubscriptionTier
from minitik_dagster.ids import new_id
from minitik_dagster.local.plan import DEMO_EMAIL
from minitik_dagster.settings import Settings

_KEY_NAME, _ADMIN_KEY_NAME = "minitik up", "minitik up (admin)"
# A loopback server that is not our sandbox hands out no tokens: it gets made-up ones.
_MADE_UP_LIFETIME = timedelta(days=30)


@dataclass(frozen=True)
class Seeded:
    """What was seeded. The keys are credentials: `repr` hides them."""

    email: str
    account_ids: tuple[str, ...]
    api_key: str
    admin_api_key: str

    def __repr__(self) -> str:
        return f"Seeded(email={self.email!r}, account_ids={self.account_ids!r})"


def seed_demo(settings: Settings, control_root: str) -> Seeded:
    """Make sure the demo user and its accounts are there, with working tokens; mint its keys.

    `control_root` is the root of the loopback server that plays the platforms. Running it again
    changes no post, no schedule and no id.
    """
    engine = make_engine(settings.require_database_url())
    now = datetime.now(UTC)
    try:
        with Session(engine) as session, session.begin():
            user = _user(session, now)
            accounts = [
                _account(session, settings, user, platform, control_root, now)
                for platform in Platform
            ]
            account_ids = tuple(account.id for account in accounts)
            session.flush()
            api_key, admin_api_key = _keys(session, user, now)
    finally:
        engine.dispose()
    return Seeded(DEMO_EMAIL, account_ids, api_key, admin_api_key)


def _user(session: Session, now: datetime) -> User:
    user = session.scalars(select(User).where(User.email == DEMO_EMAIL)).one_or_none()
    if user is None:
        user = User(
            id=new_id(),
            email=DEMO_EMAIL,
            email_verified=now,
            name="Demo creator",
            subscription_tier=SubscriptionTier.BUSINESS,
            created_at=now,
            updated_at=now,
        )
        session.add(user)
        session.flush()
    return user


def _account(
    session: Session,
    settings: Settings,
    user: User,
    platform: Platform,
    control_root: str,
    now: datetime,
) -> Account:
    """The user's first account on the platform, connected and with fresh tokens."""
    account = session.scalars(
        select(Account)
        .where(Account.user_id == user.id, Account.platform == platform)
        .order_by(Account.connected_at, Account.id)
        .limit(1)
    ).one_or_none()
    known = account.platform_account_id if account is not None else None
    given = _connect(control_root, platform, known)
    vault = Vault.from_settings(settings)
    if account is None:
        account = Account(
            id=new_id(),
            user_id=user.id,
            platform=platform,
            platform_account_id=given["platformAccountId"],
            platform_username=given["username"],
            connected_at=now,
            access_token="",
            status=AccountStatus.CONNECTED,
        )
        session.add(account)
    account.access_token = vault.seal(given["accessToken"])
    refresh = given["refreshToken"]
    account.refresh_token = vault.seal(refresh) if refresh else None
    account.token_expires_at = now + timedelta(seconds=given["expiresIn"])
    account.status = AccountStatus.CONNECTED
    account.last_sync_at = now
    account.details = {**(account.details or {}), **_details(platform, given)}
    return account


def _details(platform: Platform, given: dict[str, Any]) -> dict[str, Any]:
    details: dict[str, Any] = {"scopes": given["scopes"]}
    if platform is Platform.TIKTOK:
        # The choice a person makes on connecting: TikTok forbids one made for them.
        details["tiktok"] = {"defaultPrivacy": "PUBLIC_TO_EVERYONE"}
    return details


def _connect(root: str, platform: Platform, account_id: str | None) -> dict[str, Any]:
    """Let the sandbox connect a new account, or hand out new tokens for a known one."""
    body: dict[str, Any] = {"platform": platform.value.lower()}
    if account_id is not None:
        body["platformAccountId"] = account_id
    try:
        answer = httpx.post(f"{root}/_sandbox/accounts", json=body, timeout=30, trust_env=False)
        answer.raise_for_status()
        return dict(answer.json())
    except (httpx.HTTPError, ValueError):
        return {
            "platformAccountId": account_id or f"demo-{secrets.token_hex(6)}",
            "username": f"demo_{platform.value.lower()}",
            "scopes": [],
            "accessToken": f"demo-{secrets.token_urlsafe(24)}",
            "refreshToken": f"demo-{secrets.token_urlsafe(24)}",
            "expiresIn": int(_MADE_UP_LIFETIME.total_seconds()),
        }


def _keys(session: Session, user: User, now: datetime) -> tuple[str, str]:
    """Revoke the keys of earlier starts and mint this one's."""
    session.execute(
        update(ApiKey)
        .where(
            ApiKey.user_id == user.id,
            ApiKey.name.in_((_KEY_NAME, _ADMIN_KEY_NAME)),
            ApiKey.revoked_at.is_(None),
        )
        .values(revoked_at=now)
    )
    return (
        create_key(session, user.id, _KEY_NAME),
        create_key(session, user.id, _ADMIN_KEY_NAME, scopes=SCOPES),
    )
