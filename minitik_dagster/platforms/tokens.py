"""Tokens as RFC 6749 has them: how a call carries one, how an answer names them, how it refuses them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import RevokedError
from minitik_dagster.platforms.answers import Answer, whole_number
from minitik_dagster.platforms.oauth_refusals import NAMES
from minitik_dagster.platforms.port import TokenSet


def bearer(token: SecretStr) -> dict[str, str]:
    """Return the header that carries an access token (RFC 6750, section 2.1)."""
    return {"Authorization": f"Bearer {token.get_secret_value()}"}


def read_tokens(
    got: Mapping[str, Any], *, kept: SecretStr | None = None, separator: str = " "
) -> TokenSet:
    """Read an answer that has an access token (RFC 6749, section 5.1; lifetimes in seconds).

    `kept` is the refresh token that stays where the answer names no other. Scopes that it leaves out
    are none here.
    """
    refresh, scope = got.get("refresh_token"), got.get("scope")
    return TokenSet(
        access_token=SecretStr(str(got["access_token"])),
        expires_in=_seconds(got.get("expires_in")),
        refresh_token=SecretStr(refresh) if isinstance(refresh, str) and refresh else kept,
        refresh_expires_in=_seconds(got.get("refresh_expires_in")),
        scopes=tuple(n.strip() for n in str(scope or "").split(separator) if n.strip()),
    )


def read_oauth_error(answer: Answer) -> tuple[str, object]:
    """Return a refusal's code, empty where it names none, and the platform's words (section 5.2)."""
    got = answer.json
    code = got.get("error")
    return (code if isinstance(code, str) else ""), got.get("error_description")


def require_refresh_token(token: SecretStr | None, platform: Platform) -> SecretStr:
    """Return the refresh token; without one the account is EXPIRED: RevokedError."""
    if token is not None:
        return token
    name = NAMES[platform]
    error = RevokedError(f"no {name} refresh token is stored", fix=f"reconnect the {name} account")
    error.expired = True
    raise error


def _seconds(value: Any) -> timedelta | None:
    number = whole_number(value)
    return None if number is None else timedelta(seconds=number)
