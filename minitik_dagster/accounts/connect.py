"""Connecting an account: a code becomes sealed tokens in one row, or nothing at all.

Three transactions' worth of time apart: the state is spent and committed, then the platform is asked
without a connection of ours held, then the row is written under the lock of its user. A crash in
between leaves a spent state and no account.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.accounts import connect_queries as queries
from minitik_dagster.accounts.directory import may_identify
from minitik_dagster.accounts.oauth_flow import Pending, place_problem, spend
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import AccountStatus, Platform, SubscriptionTier
from minitik_dagster.errors import (
    MinitikError,
    PlatformError,
    RejectedError,
    RuleRefusedError,
    TransientError,
)
from minitik_dagster.ids import new_id
from minitik_dagster.platforms.oauth_refusals import read_refusal, refusal
from minitik_dagster.platforms.port import Identity, TokenSet
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.settings import Settings

# What a person waits for in their browser: two or three calls of the platform.
ASK_SECONDS: Final = 25.0
# Instagram puts this behind its redirects; a browser keeps it to itself, other programs do not.
_INSTAGRAM_TAIL: Final = "#_"


@dataclass(frozen=True)
class Returned:
    """What came back with the browser: a code, or the platform's error."""

    state: str
    code: SecretStr | None = None
    error: str | None = None
    error_description: str | None = None
    session_hash: str | None = None


@dataclass(frozen=True)
class Connected:
    """The account's row; `created` is false where it was there before."""

    account_id: str
    user_id: str
    created: bool


def finish(engine: Engine, settings: Settings, platform: Platform, returned: Returned) -> Connected:
    """End a flow: spend the state, exchange the code, ask whose account it is, store the tokens.

    Raises NotConnectedError with the code of a refusal, RuleRefusedError when the tier's places were
    taken meanwhile, another PlatformError when the platform did not answer. None of them leaves
    anything in accounts.
    """
    vault = Vault.from_settings(settings)
    with Session(engine) as session, session.begin():
        pending = spend(session, vault, platform, returned.state, returned.session_hash)
    if returned.error:
        raise read_refusal(platform, returned.error, returned.error_description)
    code = returned.code.get_secret_value().removesuffix(_INSTAGRAM_TAIL) if returned.code else ""
    if not code:
        raise refusal("code_missing", platform)
    tokens, identity = asyncio.run(_ask(settings, pending, SecretStr(code)))
    with Session(engine) as session, session.begin():
        return store(session, vault, pending, tokens, identity)


async def _ask(settings: Settings, pending: Pending, code: SecretStr) -> tuple[TokenSet, Identity]:
    failure: MinitikError
    try:
        async with asyncio.timeout(ASK_SECONDS), PlatformClients(settings) as clients:
            tokens = await clients.consent(pending.platform).exchange(
                code, pending.redirect_uri, pending.verifier
            )
            if not may_identify(pending.platform, tokens.scopes):
                raise refusal("scopes_missing", pending.platform)
            return tokens, await clients.client(pending.platform).identify(tokens.access_token)
    except TimeoutError:
        failure = TransientError(
            "the platform did not answer in time; connect again", code="connect_timeout"
        )
    except RejectedError as error:
        known = "no_channel" if error.code == "youtubeSignupRequired" else "platform_refused"
        failure = refusal(known, pending.platform, "" if known == "no_channel" else error.reason)
    except PlatformError as error:
        failure = error
    raise failure from None


def store(
    session: Session, vault: Vault, pending: Pending, tokens: TokenSet, identity: Identity
) -> Connected:
    """Write the account's one row in the caller's transaction, under the lock of its user.

    Raises NotConnectedError (other_account, no_refresh_token, state_unknown for an erased user) and
    RuleRefusedError when the tier has no place left.
    """
    platform = pending.platform
    tier = session.execute(
        text(queries.LOCK_USER), {"user_id": pending.user_id}
    ).scalar_one_or_none()
    if tier is None:
        raise refusal("state_unknown", platform)
    who = {
        "user_id": pending.user_id,
        "platform": platform.value,
        "platform_account_id": identity.platform_account_id,
    }
    known = session.execute(text(queries.KNOWN), who).mappings().one_or_none()
    if pending.account_id is not None and (known is None or known["id"] != pending.account_id):
        raise refusal("other_account", platform)
    if known is None or not known["takes_place"]:
        taken = session.execute(
            text(queries.PLACES_TAKEN), {"user_id": pending.user_id}
        ).scalar_one()
        if (problem := place_problem(SubscriptionTier(tier), taken)) is not None:
            raise RuleRefusedError(problem)
    # An old refresh token of an account that has ended is worth nothing.
    keeps_old = (
        known is not None
        and known["has_refresh"]
        and known["status"] == AccountStatus.CONNECTED.value
    )
    if platform is not Platform.INSTAGRAM and tokens.refresh_token is None and not keeps_old:
        raise refusal("no_refresh_token", platform)
    values = who | _columns(vault, tokens, identity)
    account_id: str = session.execute(text(queries.STORE), values).scalar_one()
    session.execute(
        text(queries.AUDIT),
        {
            "row_id": new_id(),
            "actor": f"user {pending.user_id}",
            "action": "account.connect" if known is None else "account.reconnect",
            "subject": account_id,
            "detail": json.dumps({"platform": platform.value, "scopes": list(tokens.scopes)}),
        },
    )
    return Connected(account_id, pending.user_id, created=known is None)


def _columns(vault: Vault, tokens: TokenSet, identity: Identity) -> dict[str, Any]:
    refresh = tokens.refresh_token.get_secret_value() if tokens.refresh_token else ""
    return {
        "id": new_id(),
        "username": identity.username,
        "access": vault.seal(tokens.access_token.get_secret_value()),
        "refresh": vault.seal(refresh) if refresh else None,
        "lives": tokens.expires_in,
        "refresh_lives": tokens.refresh_expires_in,
        "details": json.dumps({**identity.details, "scopes": list(tokens.scopes)}),
    }
