"""A flow's beginning and its return: what the server remembers while a person is at the platform.

The state is 256 random bits, kept as a hash; the PKCE verifier is sealed. Both live in oauth_states for
ten minutes and are spent once, by the user who began (RFC 6749, section 10.12; RFC 7636).
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from authlib.common.security import generate_token
from pydantic import SecretStr
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from minitik_dagster.accounts import connect_queries as queries
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.models import Account
from minitik_dagster.db.types import Platform, SubscriptionTier, from_db
from minitik_dagster.errors import (
    FieldProblem,
    InvalidInputError,
    NotFoundError,
    RuleRefusedError,
)
from minitik_dagster.ids import new_id
from minitik_dagster.platforms.oauth_refusals import refusal
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.settings import Settings

STATE_LIFETIME: Final = timedelta(minutes=10)
ACCOUNTS: Final[Mapping[SubscriptionTier, int]] = MappingProxyType(
    {SubscriptionTier.FREE: 5, SubscriptionTier.PRO: 25, SubscriptionTier.BUSINESS: 100}
)
# RFC 7636 asks for 43 to 128 characters.
_VERIFIER_CHARACTERS: Final = 64


@dataclass(frozen=True)
class Begun:
    """Where to send the person, and until when they may come back with `state`."""

    authorization_url: str
    state: str
    expires_at: datetime


@dataclass(frozen=True)
class Pending:
    """A flow whose state was just spent; `account_id` is the account to reconnect, if one was named."""

    user_id: str
    platform: Platform
    redirect_uri: str
    verifier: SecretStr | None
    account_id: str | None


def redirect_uri(settings: Settings, platform: Platform) -> str:
    """Return the one URI to register at the platform."""
    return f"{settings.nextauth_url}/api/accounts/callback/{platform.value.lower()}"


def begin(
    session: Session,
    settings: Settings,
    user_id: str,
    platform: Platform,
    *,
    account_id: str | None = None,
    session_hash: str | None = None,
) -> Begun:
    """Remember a flow and return the consent page's URL.

    `session_hash` is the SHA-256 of the browser session's cookie in which the flow must end, None for
    a program. Raises ConfigurationError without our app's credentials or the vault's key,
    NotFoundError for another's account, InvalidInputError for one of another platform,
    RuleRefusedError when the tier has no place for another account.
    """
    vault = Vault.from_settings(settings)
    _check_place(session, user_id, platform, account_id)
    state = secrets.token_urlsafe(32)
    consent = PlatformClients(settings).consent(platform)
    verifier = SecretStr(generate_token(_VERIFIER_CHARACTERS)) if consent.uses_pkce else None
    back = redirect_uri(settings, platform)
    url = consent.authorize_url(state, back, verifier)
    session.execute(text(queries.FORGET_STATES), {"user_id": user_id})
    expires = session.execute(
        text(queries.BEGIN),
        {
            "id": new_id(),
            "state_hash": _hash(state),
            "user_id": user_id,
            "provider": platform.value.lower(),
            "verifier": vault.seal(verifier.get_secret_value()) if verifier else None,
            "redirect_uri": back,
            "session_hash": session_hash,
            "account_id": account_id,
            "lives": STATE_LIFETIME,
        },
    ).scalar_one()
    return Begun(url, state, from_db(expires))


def spend(
    session: Session, vault: Vault, platform: Platform, state: str, session_hash: str | None
) -> Pending:
    """Spend a state, once; NotConnectedError says why it cannot be (state_…, other_browser).

    A return in another browser session spends nothing: a link that was passed on ends no flow.
    """
    values = {
        "state_hash": _hash(state),
        "provider": platform.value.lower(),
        "session_hash": session_hash,
    }
    row = session.execute(text(queries.SPEND), values).mappings().one_or_none()
    if row is None:
        known = session.execute(text(queries.WHY_NOT), values).mappings().one_or_none()
        if known is None:
            raise refusal("state_unknown", platform)
        if known["used"]:
            raise refusal("state_used", platform)
        raise refusal("state_expired" if known["expired"] else "other_browser", platform)
    return Pending(
        user_id=row["user_id"],
        platform=platform,
        redirect_uri=row["redirect_uri"],
        verifier=SecretStr(vault.open(row["verifier"])) if row["verifier"] else None,
        account_id=row["account_id"],
    )


def place_problem(tier: SubscriptionTier, taken: int) -> FieldProblem | None:
    """Say why one more account would be too many; None while there is room."""
    limit = ACCOUNTS[tier]
    if taken < limit:
        return None
    return FieldProblem(
        "provider",
        f"{taken} accounts are connected, the limit of tier {tier.value} is {limit}",
        "disconnect one, change to a larger tier, or name accountId to reconnect one you have",
    )


def _check_place(
    session: Session, user_id: str, platform: Platform, account_id: str | None
) -> None:
    if account_id is not None:
        account = session.scalars(
            select(Account).where(Account.id == account_id, Account.user_id == user_id)
        ).one_or_none()
        if account is None:
            raise NotFoundError(f"no account {account_id[:64]!r}")
        if account.platform is not platform:
            raise InvalidInputError(
                FieldProblem(
                    "accountId",
                    f"account {account_id} is one of {account.platform.value}",
                    f"send provider {account.platform.value.lower()}",
                )
            )
        if account.disconnected_at is None:
            return
    tier = session.execute(text(queries.TIER), {"user_id": user_id}).scalar_one_or_none()
    if tier is None:
        raise NotFoundError(f"no user {user_id[:64]!r}")
    taken = session.execute(text(queries.PLACES_TAKEN), {"user_id": user_id}).scalar_one()
    if (problem := place_problem(SubscriptionTier(tier), taken)) is not None:
        raise RuleRefusedError(problem)


def _hash(state: str) -> str:
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).hexdigest()
