"""`/api/keys`: the keys of a person's programs. The text of a key is shown once."""

from typing import Annotated, Self

from fastapi import Response
from pydantic import AwareDatetime, Field, StrictStr
from sqlalchemy.orm import Session

from minitik_dagster.accounts import api_keys
from minitik_dagster.accounts.api_keys import KeyFacts
from minitik_dagster.accounts.scopes import ADMIN_SCOPE, USER_SCOPES, expanded
from minitik_dagster.api.auth import Caller, CallerDep, ForbiddenError
from minitik_dagster.api.dependencies import SessionDep
from minitik_dagster.api.idempotency import OnceDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.base import Body, Id, Instant, View
from minitik_dagster.errors import FieldProblem, InvalidInputError, NotFoundError

router = Router(prefix="/api/keys", tags=["people"])


class KeyBody(Body):
    """A new key: no scopes means all that the caller has, but `admin`."""

    name: Annotated[StrictStr, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[Id], Field(max_length=20)] = Field(default_factory=list)
    expires_at: AwareDatetime | None = None


class KeyView(View):
    """A key as it may be shown: `prefix` is how its text begins."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None
    revoked_at: Instant | None

    @classmethod
    def of(cls, facts: KeyFacts) -> Self:
        """Show a key."""
        return cls.model_validate(facts, from_attributes=True)


class NewKeyView(KeyView):
    """A key just made; `key` is its text, null when an Idempotency-Key is replayed."""

    key: str | None = None


class KeysView(View):
    """The caller's keys, newest first, revoked ones too."""

    keys: list[KeyView]


@router.post("", status_code=201, responses=problems(404, 409, 422))
def create_key(
    body: KeyBody, caller: CallerDep, session: SessionDep, once: OnceDep, response: Response
) -> NewKeyView:
    """Make a key for the caller. A key makes none that may do more, or lasts longer, than itself."""
    response.headers["Cache-Control"] = "no-store"
    if (before := once.replay(session, body)) is not None:
        return NewKeyView.of(_find(session, caller, before["keyId"]))
    scopes = body.scopes or [scope for scope in USER_SCOPES if caller.may(scope)]
    if body.expires_at is not None and body.expires_at <= api_keys.database_now(session):
        raise InvalidInputError(
            FieldProblem("expiresAt", "has passed", "give an instant ahead, or leave it out")
        )
    expires_at = body.expires_at
    if caller.key_id is not None:
        mine = _find(session, caller, caller.key_id)
        if mine.expires_at is not None:
            expires_at = min(expires_at or mine.expires_at, mine.expires_at)
    if missing := _beyond(scopes, caller):
        raise ForbiddenError(f"the caller lacks what the key would have: {', '.join(missing)}")
    key = api_keys.create_key(
        session, caller.user_id, body.name, scopes=scopes, expires_at=expires_at
    )
    made = _find(session, caller, key[: api_keys.SHOWN_CHARACTERS])
    once.keep(session, body, status=201, created={"keyId": made.id})
    return NewKeyView.of(made).model_copy(update={"key": key})


@router.get("", responses=problems())
def list_keys(caller: CallerDep, session: SessionDep) -> KeysView:
    """List the caller's keys; never their texts."""
    found = api_keys.list_keys(session, caller.user_id)
    return KeysView(keys=[KeyView.of(facts) for facts in found])


@router.delete("/{key_id}", status_code=204, responses=problems(404))
def revoke_key(key_id: str, caller: CallerDep, session: SessionDep) -> None:
    """Revoke a key: it stops working at once. A key revokes none that may do more than itself."""
    found = _find(session, caller, key_id)
    if caller.key_id is not None and (missing := _beyond(found.scopes, caller)):
        raise ForbiddenError(f"that key may do more than this one: {', '.join(missing)}")
    api_keys.revoke_key(session, found.id, user_id=caller.user_id)


def _beyond(scopes: list[str] | tuple[str, ...], caller: Caller) -> list[str]:
    """Which known scopes, with all that they include, the caller has not; `admin` needs an admin."""
    have = caller.scopes if caller.is_admin else caller.scopes - {ADMIN_SCOPE}
    return sorted(expanded(api_keys.known_scopes(scopes)) - have)


def _find(session: Session, caller: Caller, key: str) -> KeyFacts:
    for facts in api_keys.list_keys(session, caller.user_id):
        if key in {facts.id, facts.prefix}:
            return facts
    raise NotFoundError("There is no such key.")
