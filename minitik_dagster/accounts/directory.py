"""The accounts a user has connected, as they may be shown: never a token."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Account
from minitik_dagster.db.types import AccountStatus, Platform

# Scopes that publishing, deleting and reading figures need: platforms.md sections 1 to 3. Any one of
# a group will do; every group must be covered.
_PUBLISH: Final[Mapping[Platform, tuple[frozenset[str], ...]]] = MappingProxyType(
    {
        Platform.TIKTOK: (frozenset({"video.publish"}),),
        Platform.INSTAGRAM: (frozenset({"instagram_business_content_publish"}),),
        Platform.YOUTUBE: (frozenset({"youtube", "youtube.force-ssl"}),),
    }
)
_METRICS: Final[Mapping[Platform, tuple[frozenset[str], ...]]] = MappingProxyType(
    {
        Platform.TIKTOK: (frozenset({"video.list"}),),
        Platform.INSTAGRAM: (frozenset({"instagram_business_manage_insights"}),),
        Platform.YOUTUBE: (frozenset({"youtube", "youtube.force-ssl", "youtube.readonly"}),),
    }
)
_GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/"


@dataclass(frozen=True)
class Capabilities:
    """What can be done with an account now.

    `delete` says whether the platform's API can delete a post: TikTok's cannot, and Instagram's
    cannot with Instagram Login.
    """

    publish: bool
    delete: bool
    metrics: bool


@dataclass(frozen=True)
class AccountFacts:
    """A connected account; `token_expires_at` is when its access token ends unless renewed."""

    id: str
    user_id: str
    platform: Platform
    platform_account_id: str
    username: str | None
    status: AccountStatus
    token_expires_at: datetime | None
    scopes: tuple[str, ...]
    capabilities: Capabilities


def list_accounts(session: Session, user_id: str | None = None) -> list[AccountFacts]:
    """Return the accounts of a user, or of all, the oldest connection first."""
    query = select(Account).order_by(Account.connected_at, Account.id)
    if user_id is not None:
        query = query.where(Account.user_id == user_id)
    return [_facts(account) for account in session.scalars(query)]


def _facts(account: Account) -> AccountFacts:
    details = account.details if isinstance(account.details, Mapping) else {}
    stored = details.get("scopes")
    scopes = tuple(str(scope) for scope in stored) if isinstance(stored, list) else ()
    connected = account.status is AccountStatus.CONNECTED
    return AccountFacts(
        id=account.id,
        user_id=account.user_id,
        platform=account.platform,
        platform_account_id=account.platform_account_id,
        username=account.platform_username,
        status=account.status,
        token_expires_at=account.token_expires_at,
        scopes=scopes,
        capabilities=Capabilities(
            publish=connected and _covers(scopes, _PUBLISH[account.platform]),
            delete=connected and account.platform is Platform.YOUTUBE,
            metrics=connected and _covers(scopes, _METRICS[account.platform]),
        ),
    )


def _covers(scopes: tuple[str, ...], groups: tuple[frozenset[str], ...]) -> bool:
    """Whether each group has a scope; an account whose scopes were never stored is trusted."""
    have = {scope.removeprefix(_GOOGLE_SCOPE) for scope in scopes}
    return not have or all(have & group for group in groups)
