"""Who is calling: programs by API keys and their scopes, people by their session; who is an admin.

Admin = a verified, lower-cased address that stands in ADMIN_EMAILS at the time of the request, by a
session or by a key with scope `admin` (contracts.md, HTTP, Auth). A session's requests that change
something must come from our own pages: their Origin is that of NEXTAUTH_URL.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import KeyOwner, owner_of
from minitik_dagster.accounts.scopes import ADMIN_SCOPE, USER_SCOPES, expanded
from minitik_dagster.accounts.sessions import SignedIn, signed_in
from minitik_dagster.api.browser import COOKIE, SAFE_METHODS, cookie_name, is_own_origin
from minitik_dagster.api.dependencies import state_of
from minitik_dagster.api.state import ApiState
from minitik_dagster.errors import MinitikError, TooManyAttemptsError
from minitik_dagster.settings import Settings

_BEARER: Final = HTTPBearer(
    auto_error=False,
    scheme_name="apiKey",
    description="An API key: `Authorization: Bearer mtk_…`; make one with `minitik keys create`.",
)
# For the document only: the cookie's name hangs on NEXTAUTH_URL.
_COOKIE: Final = APIKeyCookie(
    name=f"__Host-{COOKIE}",
    auto_error=False,
    scheme_name="session",
    description=(
        "A person's session, by a magic link (`POST /api/auth/magic-link`); named "
        f"`{COOKIE}` where NEXTAUTH_URL is http. Unsafe methods need `Origin` = NEXTAUTH_URL."
    ),
)
_HOW: Final = (
    "send an API key, made by `minitik keys create`, as Authorization: Bearer; or sign in: /signin"
)


class CredentialsError(MinitikError):
    """No credentials, or none that are valid (401)."""


class ForbiddenError(MinitikError):
    """The credentials are valid, but a scope or the admin's right is missing (403)."""


@dataclass(frozen=True)
class Caller:
    """Who a request speaks for: a program by its key, or a person by their session.

    `scopes` hold all that they include.
    """

    user_id: str
    scopes: frozenset[str]
    is_admin: bool
    key_id: str | None = None
    session_id: str | None = None

    def may(self, *scopes: str) -> bool:
        """Whether one of these scopes is there."""
        return any(scope in self.scopes for scope in scopes)


def _is_admins(who: KeyOwner | SignedIn, settings: Settings) -> bool:
    return who.email_verified and who.email.strip().lower() in settings.admin_emails


def _caller_of_key(owner: KeyOwner, settings: Settings) -> Caller:
    is_admin = ADMIN_SCOPE in owner.scopes and _is_admins(owner, settings)
    return Caller(owner.user_id, owner.scopes, is_admin, key_id=owner.key_id)


def _caller_of_session(person: SignedIn, settings: Settings) -> Caller:
    is_admin = _is_admins(person, settings)
    scopes = expanded((*USER_SCOPES, ADMIN_SCOPE) if is_admin else USER_SCOPES)
    return Caller(person.user_id, scopes, is_admin, session_id=person.session_id)


def _present(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    _documented: Annotated[str | None, Security(_COOKIE)],
) -> Caller | None:
    state = state_of(request)
    settings = state.settings
    # Its own connection, given back at once: an endpoint that waits on S3 holds no connection.
    if credentials is not None:
        with state.reading.begin() as connection:
            owner = owner_of(connection, credentials.credentials)
        if owner is None:
            raise CredentialsError(
                "the API key is unknown, expired or revoked; make one with: minitik keys create"
            )
        _count(request, state, owner.key_id)
        return _caller_of_key(owner, settings)
    token = request.cookies.get(cookie_name(settings))
    if not token or request.headers.get("authorization"):
        return None
    with Session(state.engine) as session, session.begin():
        person = signed_in(session, token)
    if person is None:
        raise CredentialsError("the session has ended; sign in again: /signin")
    _count(request, state, person.session_id)
    if request.method not in SAFE_METHODS:
        require_own_origin(request, settings)
    return _caller_of_session(person, settings)


def _count(request: Request, state: ApiState, subject: str) -> None:
    """Count a request of a key or session; the boundary puts the figures on the answer."""
    if state.request_rate is None:
        return
    taken = state.request_rate.take(subject)
    request.state.rate = taken
    if not taken.allowed:
        raise TooManyAttemptsError(
            f"{taken.limit} requests a minute are used up; wait and try again",
            retry_after=timedelta(seconds=taken.seconds),
        )


def require_own_origin(request: Request, settings: Settings) -> None:
    """Refuse what another site's page sent, or a page that does not say which it is (403)."""
    if not is_own_origin(request.headers.get("origin"), settings):
        raise ForbiddenError(
            "a session's request that changes something must carry this server's own Origin "
            "(NEXTAUTH_URL)"
        )


Present = Annotated[Caller | None, Depends(_present)]


def _known(present: Caller | None) -> Caller:
    if present is None:
        raise CredentialsError(_HOW)
    return present


async def caller(present: Present) -> Caller:
    """Return the caller; CredentialsError (401) without valid credentials."""
    return _known(present)


def require_scope(scope: str, *others: str) -> Callable[[Caller], Awaitable[Caller]]:
    """Return a dependency that gives the caller if it has the scope, or one of the others, else 403."""

    async def check(present: Present) -> Caller:
        known = _known(present)
        if not known.may(scope, *others):
            raise ForbiddenError(
                f"the API key lacks the scope {scope}; make one with: "
                f"minitik keys create --scope {scope}"
            )
        return known

    return check


async def require_admin(present: Present) -> Caller:
    """Return the caller if it is an admin, else 403."""
    known = _known(present)
    if not known.is_admin:
        raise ForbiddenError(
            "this needs a verified e-mail address that stands in ADMIN_EMAILS, and of an API key "
            "the scope admin"
        )
    return known


CallerDep = Annotated[Caller, Depends(caller)]
OptionalCallerDep = Present
AdminDep = Annotated[Caller, Depends(require_admin)]
