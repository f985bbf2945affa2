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
from minitik_dagster.errors import NotFoundError

# Scopes that publishing, deleting and reading figures need, and telling whose account it is:
# platforms.md sections 1 to 3. Any one of a group will do, the first is the one we ask for; every
# group must be covered.
Groups = tuple[tuple[str, ...], ...]
_IDENTIFY: Final[Mapping[Platform, Groups]] = MappingProxyType(
    {
        Platform.TIKTOK: (("user.info.basic",),),
        Platform.INSTAGRAM: (("instagram_business_basic",),),
        Platform.YOUTUBE: (("youtube.readonly", "youtube", "youtube.force-ssl"),),
    }
)
_PUBLISH: Final[Mapping[Platform, Groups]] = MappingProxyType(
    {
        Platform.TIKTOK: (("video.publish",),),
        Platform.INSTAGRAM: (("instagram_business_content_publish",),),
        Platform.YOUTUBE: (("youtube", "youtube.force-ssl"),),
    }
)
_METRICS: Final[Mapping[Platform, Groups]] = MappingProxyType(
    {
        Platform.TIKTOK: (("video.list",),),
        Platform.INSTAGRAM: (("instagram_business_manage_insights",),),
        Platform.YOUTUBE: (("youtube.readonly", "youtube", "youtube.force-ssl"),),
    }
)
_NO_DELETE: Final[Mapping[Platform, str]] = MappingProxyType(
    {
        Platform.TIKTOK: "TikTok lets no program delete a post; a person does it in the app",
        Platform.INSTAGRAM: (
            "Instagram lets no program delete a post with Instagram Login; a person does it in the app"
        ),
    }
)
_STATUS: Final[Mapping[AccountStatus, str]] = MappingProxyType(
    {
        AccountStatus.CONNECTING: "the connection was never finished; connect the account",
        AccountStatus.EXPIRED: "the connection has expired; reconnect the account",
        AccountStatus.REVOKED: "the permission was withdrawn; reconnect the account",
        AccountStatus.ERROR: "the connection is out of order; reconnect the account",
    }
)
_GOOGLE_SCOPE: Final = "https://www.googleapis.com/auth/"
_PRIVACY_KEY: Final = "defaultPrivacy"


@dataclass(frozen=True)
class Capabilities:
    """What can be done with an account now.

    `delete` says whether the platform's API can delete a post: TikTok's cannot, and Instagram's
    cannot with Instagram Login. `missing_scopes` names, for each that is not there for want of a
    permission, what to grant; `reasons` says of each that is not there why, in plain words.
    """

    publish: bool
    delete: bool
    metrics: bool
    missing_scopes: Mapping[str, tuple[str, ...]]
    reasons: Mapping[str, str]


@dataclass(frozen=True)
class AccountFacts:
    """A connected account; `token_expires_at` is when its access token ends unless renewed.

    `default_privacy` is what a TikTok account's creator chose for posts that name none. `last_sync_at`
    is when the platform last answered well about it; `probed_at` and `probe_outcome`: accounts.probes.
    """

    id: str
    user_id: str
    platform: Platform
    platform_account_id: str
    username: str | None
    status: AccountStatus
    token_expires_at: datetime | None
    scopes: tuple[str, ...]
    capabilities: Capabilities
    default_privacy: str | None
    last_sync_at: datetime | None
    probed_at: datetime | None
    probe_outcome: str | None


def may_identify(platform: Platform, scopes: tuple[str, ...]) -> bool:
    """Whether these scopes tell whose account it is: less than that is no connection."""
    return not _missing(platform, scopes, _IDENTIFY[platform])


def get_account(session: Session, user_id: str, account_id: str) -> AccountFacts:
    """Return one account of the user's; NotFoundError for another's."""
    query = select(Account).where(Account.id == account_id, Account.user_id == user_id)
    found = session.scalars(query).one_or_none()
    if found is None:
        raise NotFoundError(f"no account {account_id[:64]!r}")
    return _facts(found)


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
    tiktok = details.get("tiktok")
    privacy = tiktok.get(_PRIVACY_KEY) if isinstance(tiktok, Mapping) else None
    return AccountFacts(
        id=account.id,
        user_id=account.user_id,
        platform=account.platform,
        platform_account_id=account.platform_account_id,
        username=account.platform_username,
        status=account.status,
        token_expires_at=account.token_expires_at,
        scopes=scopes,
        capabilities=_capabilities(account, scopes),
        default_privacy=privacy if isinstance(privacy, str) else None,
        last_sync_at=account.last_sync_at,
        probed_at=account.probed_at,
        probe_outcome=account.probe_outcome,
    )


def _capabilities(account: Account, scopes: tuple[str, ...]) -> Capabilities:
    platform = account.platform
    missing = {
        "publish": _missing(platform, scopes, _PUBLISH[platform]),
        "delete": () if platform in _NO_DELETE else _missing(platform, scopes, _PUBLISH[platform]),
        "metrics": _missing(platform, scopes, _METRICS[platform]),
    }
    reasons = {
        name: f"not granted: {', '.join(lacking)}; reconnect the account and grant it"
        for name, lacking in missing.items()
        if lacking
    }
    if account.disconnected_at is not None:
        reasons |= dict.fromkeys(missing, "the account was disconnected; reconnect it")
    elif account.status is not AccountStatus.CONNECTED:
        reasons |= dict.fromkeys(missing, _STATUS[account.status])
    if platform in _NO_DELETE:
        reasons["delete"] = _NO_DELETE[platform]
    return Capabilities(
        publish="publish" not in reasons,
        delete="delete" not in reasons,
        metrics="metrics" not in reasons,
        missing_scopes={name: lacking for name, lacking in missing.items() if lacking},
        reasons=reasons,
    )


def _missing(platform: Platform, scopes: tuple[str, ...], groups: Groups) -> tuple[str, ...]:
    """Name what each group lacks; an account whose scopes were never stored is trusted."""
    have = {scope.removeprefix(_GOOGLE_SCOPE) for scope in scopes}
    prefix = _GOOGLE_SCOPE if platform is Platform.YOUTUBE else ""
    return tuple(prefix + group[0] for group in groups if have and not have.intersection(group))
