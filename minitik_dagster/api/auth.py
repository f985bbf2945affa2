"""Who is calling: bearer API keys, their scopes, and who is an admin.

Admin = a key with scope `admin` whose owner's verified, lower-cased address stands in ADMIN_EMAILS
at the time of the request (contracts.md, HTTP, Auth).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import ADMIN_SCOPE, KeyOwner, owner_of
from minitik_dagster.api.dependencies import EngineDep, SettingsDep
from minitik_dagster.errors import MinitikError
from minitik_dagster.settings import Settings

_BEARER: Final = HTTPBearer(
    auto_error=False,
    scheme_name="apiKey",
    description="An API key: `Authorization: Bearer mtk_…`; make one with `minitik keys create`.",
)


class CredentialsError(MinitikError):
    """No credentials, or none that are valid (401)."""


class ForbiddenError(MinitikError):
    """The credentials are valid, but a scope or the admin's right is missing (403)."""


@dataclass(frozen=True)
class Caller:
    """Who a request speaks for."""

    user_id: str
    scopes: frozenset[str]
    is_admin: bool
    key_id: str

    def may(self, scope: str) -> bool:
        """Whether the key carries the scope; `admin` carries all."""
        return scope in self.scopes or ADMIN_SCOPE in self.scopes


def _caller_of(owner: KeyOwner, settings: Settings) -> Caller:
    is_admin = (
        ADMIN_SCOPE in owner.scopes
        and owner.email_verified
        and owner.email.strip().lower() in settings.admin_emails
    )
    return Caller(owner.user_id, owner.scopes, is_admin, owner.key_id)


def _present(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    engine: EngineDep,
    settings: SettingsDep,
) -> Caller | None:
    # A transaction of its own, ended at once: an endpoint that waits on S3 holds no connection.
    if credentials is None:
        return None
    with Session(engine) as session, session.begin():
        owner = owner_of(session, credentials.credentials)
    if owner is None:
        raise CredentialsError(
            "the API key is unknown, expired or revoked; make one with: minitik keys create"
        )
    return _caller_of(owner, settings)


def caller(present: Annotated[Caller | None, Depends(_present)]) -> Caller:
    """Return the caller; CredentialsError (401) without valid credentials."""
    if present is None:
        raise CredentialsError(
            "send an API key: `Authorization: Bearer mtk_…`; make one with: minitik keys create"
        )
    return present


def require_scope(scope: str) -> Callable[[Caller], Caller]:
    """Return a dependency that gives the caller if its key carries the scope, else 403."""

    def check(present: Annotated[Caller, Depends(caller)]) -> Caller:
        if not present.may(scope):
            raise ForbiddenError(
                f"the API key lacks the scope {scope}; make one with: "
                f"minitik keys create --scope {scope}"
            )
        return present

    return check


def require_admin(present: Annotated[Caller, Depends(caller)]) -> Caller:
    """Return the caller if it is an admin, else 403."""
    if not present.is_admin:
        raise ForbiddenError(
            "this needs an API key with scope admin whose owner's verified e-mail address "
            "stands in ADMIN_EMAILS"
        )
    return present


CallerDep = Annotated[Caller, Depends(caller)]
OptionalCallerDep = Annotated[Caller | None, Depends(_present)]
AdminDep = Annotated[Caller, Depends(require_admin)]
