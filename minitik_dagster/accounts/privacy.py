"""A TikTok account's stored default privacy: the creator's own choice, among what TikTok offers now.

"Content Sharing Guidelines" (developers.tiktok.com): no privacy may be preselected for a creator, and
the choices are the ones of creator_info.
"""

import asyncio
from typing import Final

from pydantic import SecretStr
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.tokens import open_token
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.models import Account
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.errors import (
    AuthExpiredError,
    FieldProblem,
    InvalidInputError,
    NotFoundError,
    RuleRefusedError,
    StateConflictError,
    TransientError,
)
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.settings import Settings

ASK_SECONDS: Final = 15.0
_SAVE: Final = text(
    """
    UPDATE accounts SET metadata = m.kept || jsonb_build_object('tiktok',
        CASE WHEN jsonb_typeof(m.kept->'tiktok') = 'object' THEN m.kept->'tiktok' ELSE '{}' END
        || jsonb_build_object('defaultPrivacy', CAST(:privacy AS text)))
    FROM (
        SELECT id, CASE WHEN jsonb_typeof(metadata) = 'object' THEN metadata ELSE '{}' END AS kept
        FROM accounts WHERE id = :id FOR NO KEY UPDATE
    ) m
    WHERE accounts.id = m.id
    """
)


def set_default_privacy(
    engine: Engine, settings: Settings, user_id: str, account_id: str, privacy: str
) -> None:
    """Store the privacy for posts that name none, once TikTok has said that the creator may choose it.

    Raises NotFoundError for another's account, InvalidInputError for another platform's,
    StateConflictError while the account is not connected or its token has just expired,
    RuleRefusedError with the choices when TikTok does not offer this one.
    """
    vault = Vault.from_settings(settings)
    with Session(engine) as session, session.begin():
        account = session.scalars(
            select(Account).where(Account.id == account_id, Account.user_id == user_id)
        ).one_or_none()
        if account is None:
            raise NotFoundError(f"no account {account_id[:64]!r}")
        if account.platform is not Platform.TIKTOK:
            raise InvalidInputError(
                FieldProblem(
                    "defaultPrivacy",
                    f"account {account_id} is one of {account.platform.value}",
                    "only TikTok accounts have a default privacy; set options.youtube.privacy per post",
                )
            )
        if account.status is not AccountStatus.CONNECTED:
            raise StateConflictError(
                f"account {account_id} is {account.status.value}; connect it again first",
                state=account.status.value,
            )
        token = open_token(vault, account.id, account.access_token, account.token_expires_at)
    options = asyncio.run(_options(settings, account_id, token.access_token))
    if privacy not in options:
        raise RuleRefusedError(
            FieldProblem(
                "defaultPrivacy",
                f"TikTok does not offer {privacy} to this creator now",
                f"choose one of: {', '.join(options)}",
            )
        )
    with engine.begin() as connection:
        connection.execute(_SAVE, {"id": account_id, "privacy": privacy})


async def _options(settings: Settings, account_id: str, token: SecretStr) -> tuple[str, ...]:
    try:
        async with asyncio.timeout(ASK_SECONDS), PlatformClients(settings) as clients:
            return await clients.tiktok().privacy_options(token)
    except AuthExpiredError:
        raise StateConflictError(
            f"the token of account {account_id} has expired; renew it with "
            f"POST /api/accounts/{account_id}/refresh and try again",
            state="token_expired",
        ) from None
    except TimeoutError:
        raise TransientError("TikTok did not answer in time; try again", code="timeout") from None
