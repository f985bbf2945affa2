"""API keys for programs: 256 random bits, shown once, kept as a SHA-256.

A plain hash is right here: a key cannot be guessed, so there is nothing for a slow hash to slow
down (a password would need one).
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select, text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.scopes import OLD_SCOPES, SCOPES, USER_SCOPES, expanded
from minitik_dagster.db.models import User
from minitik_dagster.db.tables import ApiKey
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import FieldProblem, InvalidInputError, NotFoundError
from minitik_dagster.ids import new_id

KEY_PREFIX: Final = "mtk_"
SHOWN_CHARACTERS: Final = 12
_NAME_CHARACTERS: Final = 100
_KNOWN: Final = (*SCOPES, *OLD_SCOPES)


@dataclass(frozen=True)
class KeyFacts:
    """What may be told of a key: never its text. `prefix` is its first 12 characters."""

    id: str
    user_id: str
    email: str | None
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class KeyOwner:
    """A valid key's owner, as a request needs it."""

    key_id: str
    user_id: str
    scopes: frozenset[str]
    email: str
    email_verified: bool


def hash_key(key: str) -> str:
    """Return what is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def known_scopes(scopes: Sequence[str]) -> list[str]:
    """Return those that exist, each once, in their order; `create_key` refuses the others."""
    return [scope for scope in _KNOWN if scope in scopes]


def database_now(session: Session) -> datetime:
    """Return PostgreSQL's present instant, aware, in UTC: the one clock (engine.md R10)."""
    return from_db(
        session.execute(text("SELECT statement_timestamp() AT TIME ZONE 'UTC'")).scalar_one()
    )


def create_key(
    session: Session,
    user_id: str,
    name: str,
    *,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> str:
    """Make a key and return its text, the only time it can be seen.

    No scopes means all of a user's, without `admin`. Raises InvalidInputError for an unknown scope
    or a bad name, NotFoundError for an unknown or erased user.
    """
    if unknown := sorted(set(scopes) - set(_KNOWN)):
        raise InvalidInputError(
            FieldProblem("scopes", f"unknown: {', '.join(unknown)}", f"use: {', '.join(SCOPES)}")
        )
    if not name.strip() or len(name) > _NAME_CHARACTERS:
        raise InvalidInputError(
            FieldProblem("name", f"{len(name)} characters", f"give 1 to {_NAME_CHARACTERS}")
        )
    owner = session.get(User, user_id)
    if owner is None or owner.deleted_at is not None:
        raise NotFoundError(f"no user {user_id}")
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    session.add(
        ApiKey(
            id=new_id(),
            user_id=user_id,
            name=name.strip(),
            key_hash=hash_key(key),
            prefix=key[:SHOWN_CHARACTERS],
            scopes=known_scopes(scopes or USER_SCOPES),
            created_at=database_now(session),
            expires_at=expires_at,
        )
    )
    session.flush()
    return key


def list_keys(session: Session, user_id: str | None = None) -> list[KeyFacts]:
    """Return the keys of a user, or of all, newest first; revoked ones too."""
    query = (
        select(ApiKey, User.email)
        .outerjoin(User, User.id == ApiKey.user_id)
        .order_by(ApiKey.created_at.desc(), ApiKey.id)
    )
    if user_id is not None:
        query = query.where(ApiKey.user_id == user_id)
    return [
        KeyFacts(
            id=key.id,
            user_id=key.user_id,
            email=email,
            name=key.name,
            prefix=key.prefix,
            scopes=tuple(key.scopes),
            created_at=key.created_at,
            expires_at=key.expires_at,
            last_used_at=key.last_used_at,
            revoked_at=key.revoked_at,
        )
        for key, email in session.execute(query)
    ]


def revoke_key(session: Session, key_id: str, *, user_id: str | None = None) -> bool:
    """Revoke a key by its id or its shown prefix; False when it already was.

    With `user_id` only one of theirs is found. Raises NotFoundError for an unknown one,
    InvalidInputError for a prefix that several keys share.
    """
    query = select(ApiKey).where((ApiKey.id == key_id) | (ApiKey.prefix == key_id))
    if user_id is not None:
        query = query.where(ApiKey.user_id == user_id)
    found = session.scalars(query.with_for_update()).all()
    if not found:
        raise NotFoundError(f"no key {key_id[:64]}")
    if len(found) > 1:
        raise InvalidInputError(FieldProblem("key", f"{key_id} names several keys", "give its id"))
    if found[0].revoked_at is not None:
        return False
    found[0].revoked_at = database_now(session)
    session.flush()
    return True


_OWNER_OF = text(
    """
    SELECT k.id, k."userId" AS user_id, k.scopes, u.email,
        u."emailVerified" IS NOT NULL AS verified,
        k."lastUsedAt" IS NULL
            OR k."lastUsedAt" < statement_timestamp() AT TIME ZONE 'UTC' - interval '1 minute'
            AS touch
    FROM api_keys k JOIN users u ON u.id = k."userId"
    WHERE k."keyHash" = :hash AND k."revokedAt" IS NULL AND u."deletedAt" IS NULL
      AND (k."expiresAt" IS NULL OR k."expiresAt" > statement_timestamp() AT TIME ZONE 'UTC')
    """
)
_TOUCH = text(
    """
    UPDATE api_keys SET "lastUsedAt" = statement_timestamp() AT TIME ZONE 'UTC'
    WHERE id = :id AND ("lastUsedAt" IS NULL
        OR "lastUsedAt" < statement_timestamp() AT TIME ZONE 'UTC' - interval '1 minute')
    """
)


def owner_of(session: Session | Connection, key: str) -> KeyOwner | None:
    """Return whose key this is; None for an unknown, revoked or expired one.

    Notes the use, at most once a minute: a busy key must not write at each request.
    """
    row = session.execute(_OWNER_OF, {"hash": hash_key(key)}).mappings().one_or_none()
    if row is None:
        return None
    if row["touch"]:
        session.execute(_TOUCH, {"id": row["id"]})
    return KeyOwner(
        key_id=row["id"],
        user_id=row["user_id"],
        scopes=expanded(row["scopes"]),
        email=row["email"],
        email_verified=row["verified"],
    )
