"""`/api/auth`: people sign in by a link in an e-mail and sign out; the pages that this needs."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Final

from fastapi import BackgroundTasks, Depends, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import Field, StrictStr
from sqlalchemy.orm import Session

from minitik_dagster.accounts.attempts import use_attempt
from minitik_dagster.accounts.sessions import (
    SESSION_LIFETIME,
    end_session,
    end_sessions_of,
    signed_in,
)
from minitik_dagster.accounts.sign_in import consume_link, request_link
from minitik_dagster.accounts.users import read_address
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.api import pages
from minitik_dagster.api.auth import CallerDep, ForbiddenError, require_own_origin
from minitik_dagster.api.browser import ClientDep, cookie_name, give_cookie, take_cookie
from minitik_dagster.api.dependencies import EngineDep, SessionDep, SettingsDep
from minitik_dagster.api.forms import body_schema, form_or_json, is_form
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.base import Body, View
from minitik_dagster.db.instance import is_ours
from minitik_dagster.errors import InvalidInputError

router = Router(tags=["people"])

# Per client, and per address whoever asks: nobody's mailbox is filled from many places.
_ASKS_PER_CLIENT: Final = (5, timedelta(minutes=1))
_ASKS_PER_ADDRESS: Final = (5, timedelta(minutes=15))
_VERIFIES_PER_CLIENT: Final = (60, timedelta(minutes=1))


class MagicLinkBody(Body):
    """Whose mailbox the link goes to."""

    email: Annotated[StrictStr, Field(max_length=254)]


class VerifyBody(Body):
    """The token of a link."""

    token: Annotated[StrictStr, Field(min_length=1, max_length=200)]


class SignOutBody(Body):
    """Which sessions end: this one, or all of the person's."""

    everywhere: bool = False


class LinkView(View):
    """The same for everybody who asks."""

    message: str = "if this address may sign in, a link is on its way; it lasts 15 minutes"


class SignedInView(View):
    """Who has signed in; the session is in the cookie."""

    user_id: str
    email: str
    expires_in: int = Field(description="seconds")


def own_or_no_origin(request: Request, settings: SettingsDep) -> None:
    """Refuse another site's page (403); a program has no Origin, a browser's form always has one."""
    if "origin" in request.headers or is_form(request):
        require_own_origin(request, settings)


def _limit(kind: str, limit: int, window: timedelta) -> Callable[[EngineDep, ClientDep], None]:
    def check(engine: EngineDep, client: ClientDep) -> None:
        # A transaction of its own: what fails afterwards has counted all the same.
        with Session(engine) as session, session.begin():
            use_attempt(session, kind, client, limit=limit, window=window)

    return check


_OWN_ORIGIN: Final = Depends(own_or_no_origin)


@router.post(
    "/api/auth/magic-link",
    status_code=202,
    responses=problems(429),
    openapi_extra=body_schema(MagicLinkBody),
    response_model=LinkView,
    dependencies=[_OWN_ORIGIN, Depends(_limit("sign_in.link", *_ASKS_PER_CLIENT))],
)
def send_magic_link(
    body: Annotated[MagicLinkBody, Depends(form_or_json(MagicLinkBody))],
    request: Request,
    tasks: BackgroundTasks,
    engine: EngineDep,
    settings: SettingsDep,
) -> Response:
    """Send a link to an address, if somebody with it may sign in: the answer does not say.

    5 a minute per client, and 5 in 15 minutes per address.
    """
    vault = Vault.from_settings(settings)
    address = read_address(body.email)
    digest = hashlib.sha256(address.encode()).hexdigest()
    limit, window = _ASKS_PER_ADDRESS
    with Session(engine) as session, session.begin():
        use_attempt(session, "sign_in.address", digest, limit=limit, window=window)
        ours = is_ours(session.connection(), settings)
        request_link(session, vault, address, site=None if ours else settings.nextauth_url)
    tasks.add_task(request.app.state.notices.wake)
    if is_form(request):
        page = pages.link_is_coming()
        page.background = tasks
        return page
    return JSONResponse(LinkView().model_dump(by_alias=True), 202, background=tasks)


@router.post(
    "/api/auth/verify",
    responses=problems(429),
    openapi_extra=body_schema(VerifyBody),
    response_model=SignedInView,
    dependencies=[_OWN_ORIGIN, Depends(_limit("sign_in.verify", *_VERIFIES_PER_CLIENT))],
)
def verify_magic_link(
    body: Annotated[VerifyBody, Depends(form_or_json(VerifyBody))],
    request: Request,
    session: SessionDep,
    settings: SettingsDep,
) -> Response:
    """Use a link's token up and begin a session, kept in a cookie for 30 days."""
    try:
        done = consume_link(session, body.token, sign_up_open=settings.signup == "open")
    except InvalidInputError:
        if is_form(request):
            return pages.link_unusable()
        raise
    answer: Response
    if is_form(request):
        answer = RedirectResponse("/signin", 303, headers=pages.HEADERS)
    else:
        view = SignedInView(
            user_id=done.user_id,
            email=done.email,
            expires_in=int(SESSION_LIFETIME.total_seconds()),
        )
        answer = JSONResponse(view.model_dump(by_alias=True), headers={"Cache-Control": "no-store"})
    give_cookie(answer, settings, done.token)
    return answer


@router.post(
    "/api/auth/signout",
    status_code=204,
    responses=problems(),
    openapi_extra=body_schema(SignOutBody, required=False),
    response_class=Response,
)
def sign_out(
    caller: CallerDep,
    body: Annotated[SignOutBody, Depends(form_or_json(SignOutBody, optional=True))],
    request: Request,
    session: SessionDep,
    settings: SettingsDep,
) -> Response:
    """End this session, or with `everywhere` all of the person's: at once. Keys are revoked apart."""
    if caller.session_id is None:
        raise ForbiddenError("an API key has no session; revoke it: DELETE /api/keys/{id}")
    if body.everywhere:
        end_sessions_of(session, caller.user_id)
    else:
        end_session(session, caller.session_id)
    answer = RedirectResponse("/signin", 303) if is_form(request) else Response(status_code=204)
    take_cookie(answer, settings)
    return answer


@router.get("/signin", include_in_schema=False)
def show_sign_in(request: Request, session: SessionDep, settings: SettingsDep) -> Response:
    """The sign-in page, or who is signed in."""
    token = request.cookies.get(cookie_name(settings))
    person = signed_in(session, token) if token else None
    return pages.signed_in_as(person.email) if person else pages.ask_address()


@router.get("/auth/verify", include_in_schema=False)
def show_button(token: str = "") -> Response:
    """What a link leads to: a page with a button. Mail programs that open links use none up."""
    return pages.press_button(token) if 0 < len(token) <= 200 else pages.link_unusable()
