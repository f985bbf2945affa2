"""`/api/accounts/initiate`, `/callback`, `/{id}/release`, PATCH: connecting accounts by OAuth."""

import hashlib
from datetime import timedelta
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlencode, urlsplit

from fastapi import Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import Field, SecretStr, StrictStr
from sqlalchemy.orm import Session

from minitik_dagster.accounts.attempts import use_attempt
from minitik_dagster.accounts.connect import Returned, finish
from minitik_dagster.accounts.directory import get_account
from minitik_dagster.accounts.oauth_flow import Begun, begin
from minitik_dagster.accounts.privacy import set_default_privacy
from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.connected_page import HEADERS, connected_page
from minitik_dagster.api.dependencies import EngineDep, SessionDep, SettingsDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routers.accounts import AccountView
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.base import Body, Instant, View
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import (
    NotConnectedError,
    PlatformError,
    RuleRefusedError,
)
from minitik_dagster.platforms.options import TikTokPrivacy
from minitik_dagster.publishing.holds import HeldPost, held_posts, release_held
from minitik_dagster.settings import Settings

router = Router(tags=["accounts"])

Connector = Annotated[Caller, Depends(require_scope("accounts:write"))]
Releaser = Annotated[Caller, Depends(require_scope("publish"))]
Provider = Literal["tiktok", "instagram", "youtube"]
ATTEMPTS: Final = 5
ATTEMPTS_WINDOW: Final = timedelta(minutes=1)
_COOKIE: Final = "minitik_session"
Text = Annotated[str, Query(max_length=4096)]


class InitiateBody(Body):
    """Which platform; `accountId` names one of the caller's accounts to reconnect."""

    provider: Provider
    account_id: Annotated[StrictStr, Field(max_length=100)] | None = None


class InitiatedView(View):
    """Open `authorizationUrl` in a browser before `expiresAt`."""

    authorization_url: str
    state: str
    expires_at: Instant

    @classmethod
    def of(cls, begun: Begun) -> Self:
        """Show a flow that has begun."""
        return cls.model_validate(begun, from_attributes=True)


class HeldPostView(View):
    """A post that waits for its account."""

    id: str
    content_id: str
    due_at: Instant


class HeldPostsView(View):
    """Posts that `POST /api/accounts/{id}/release` takes up again, but for those that are too late."""

    count: int
    too_late: list[HeldPostView]

    @classmethod
    def of(cls, held: list[HeldPost]) -> Self:
        """Show the held posts of an account."""
        late = [
            HeldPostView.model_validate(post, from_attributes=True)
            for post in held
            if post.too_late
        ]
        return cls(count=len(held), too_late=late)


class ConnectedView(View):
    """The connected account; `created` is false where it was known before."""

    account: AccountView
    created: bool
    held_posts: HeldPostsView


class ReleasedView(View):
    """Publications that go on, and those that stay held: move or cancel them."""

    released: list[str]
    too_late: list[str]


class AccountChange(Body):
    """What may be changed of an account."""

    default_privacy: TikTokPrivacy


@router.post("/api/accounts/initiate", responses=problems(404, 422, 429))
def begin_connection(
    body: InitiateBody,
    request: Request,
    caller: Connector,
    engine: EngineDep,
    settings: SettingsDep,
) -> InitiatedView:
    """Begin to connect an account, or to reconnect one: where to send the person's browser.

    The state is good for 10 minutes and one return. Five a minute and user.
    """
    with Session(engine) as session, session.begin():
        use_attempt(session, "connect", caller.user_id, limit=ATTEMPTS, window=ATTEMPTS_WINDOW)
    with Session(engine) as session, session.begin():
        return InitiatedView.of(
            begin(
                session,
                settings,
                caller.user_id,
                Platform(body.provider.upper()),
                account_id=body.account_id,
                # A program has no browser of its own: its flow may end in any.
                session_hash=None if caller.key_id else _session_hash(request, settings),
            )
        )


@router.get(
    "/api/accounts/callback/{provider}",
    response_model=ConnectedView,
    responses=problems(422, 429, 502)
    | {303: {"description": "for a browser: to a page that says the same"}},
)
def finish_connection(
    provider: Provider,
    request: Request,
    response: Response,
    engine: EngineDep,
    settings: SettingsDep,
    state: Text = "",
    code: Text | None = None,
    error: Text | None = None,
    error_description: Text | None = None,
) -> ConnectedView | RedirectResponse:
    """Take the return from a platform: its single-use `state` is the only credential.

    A flow that was begun in a browser session ends in the same one only. Connecting an account again
    updates it; `heldPosts` says what waited for it.
    """
    returned = Returned(
        state=state,
        code=SecretStr(code) if code else None,
        error=error,
        error_description=error_description,
        session_hash=_session_hash(request, settings),
    )
    for name, value in HEADERS.items():
        response.headers[name] = value
    browser = "text/html" in request.headers.get("accept", "")
    try:
        done = finish(engine, settings, Platform(provider.upper()), returned)
    except (NotConnectedError, RuleRefusedError, PlatformError) as refused:
        if not browser:
            raise
        return _to_page(settings, provider=provider, refused=_code_of(refused))
    with Session(engine) as session, session.begin():
        held = held_posts(session, done.account_id)
        account = get_account(session, done.user_id, done.account_id)
    if browser:
        return _to_page(settings, connected=provider, account=account.id, held=str(len(held)))
    return ConnectedView(
        account=AccountView.of(account), created=done.created, held_posts=HeldPostsView.of(held)
    )


@router.get("/connected", include_in_schema=False)
def show_connected(
    connected: str = "", provider: str = "", refused: str = "", account: str = "", held: str = ""
) -> HTMLResponse:
    """Tell a person what their connection came to; shows nothing of an account."""
    return connected_page(
        provider=connected or provider, refused=refused, account_id=account, held=held
    )


@router.post("/api/accounts/{account_id}/release", responses=problems(404, 409))
def release_held_posts(account_id: str, caller: Releaser, session: SessionDep) -> ReleasedView:
    """Take up the posts that were held for the account; those past their maxLateness stay held."""
    get_account(session, caller.user_id, account_id)
    done = release_held(session, account_id, actor=f"user {caller.user_id}")
    return ReleasedView(released=list(done.released), too_late=list(done.too_late))


@router.patch("/api/accounts/{account_id}", responses=problems(404, 409, 422, 502))
def change_account(
    account_id: str,
    body: AccountChange,
    caller: Connector,
    engine: EngineDep,
    settings: SettingsDep,
) -> AccountView:
    """Store a TikTok account's privacy for posts that name none; TikTok is asked whether it may be."""
    set_default_privacy(engine, settings, caller.user_id, account_id, body.default_privacy)
    with Session(engine) as session, session.begin():
        return AccountView.of(get_account(session, caller.user_id, account_id))


def _session_hash(request: Request, settings: Settings) -> str | None:
    """Return the SHA-256 of the browser session's cookie, as oauth_states keeps it."""
    secure = urlsplit(settings.nextauth_url).scheme == "https"
    token = request.cookies.get(f"__Host-{_COOKIE}" if secure else _COOKIE)
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest() if token else None


def _code_of(refused: NotConnectedError | RuleRefusedError | PlatformError) -> str:
    if isinstance(refused, NotConnectedError):
        return refused.code
    return "limit" if isinstance(refused, RuleRefusedError) else "unavailable"


def _to_page(settings: Settings, **query: str) -> RedirectResponse:
    return RedirectResponse(
        f"{settings.nextauth_url}/connected?{urlencode(query)}", 303, headers=HEADERS
    )
