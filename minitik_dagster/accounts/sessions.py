"""Sessions of people who have signed in: 256 random bits in a cookie, their hash in `sessions`.

A session lasts 30 days from the sign-in and is not prolonged by use: a request writes nothing, and a
stolen cookie ends by itself. The stored text begins with `sha256:`. The old system's rows hold their
tokens in plain text: no cookie has one of them as its hash, so none of them is a session here.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import database_now
from minitik_dagster.db.models import Session as SessionRow
from minitik_dagster.ids import new_id

SESSION_LIFETIME: Final = timedelta(days=30)
_HASHED: Final = "sha256:"


@dataclass(frozen=True)
class SignedIn:
    """A valid session's person, as a request needs it."""

    session_id: str
    user_id: str
    email: str
    email_verified: bool


def hash_token(token: str) -> str:
    """Return what is stored of a session's or a link's token."""
    return _HASHED + hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def open_session(session: Session, user_id: str) -> str:
    """Begin a session and return its token: the cookie's value."""
    token = secrets.token_urlsafe(32)
    session.add(
        SessionRow(
            id=new_id(),
            session_token=hash_token(token),
            user_id=user_id,
            expires=database_now(session) + SESSION_LIFETIME,
        )
    )
    session.flush()
    return token


_WHO = text(
    """
    SELECT s.id, s."userId" AS user_id, u.email, u."emailVerified" IS NOT NULL AS verified
    FROM sessions s JOIN users u ON u.id = s."userId"
    WHERE s."sessionToken" = :hash AND u."deletedAt" IS NULL
        AND s.expires > statement_timestamp() AT TIME ZONE 'UTC'
    """
)


def signed_in(session: Session, token: str) -> SignedIn | None:
    """Return whose session this is; None for one that is unknown, ended or of an erased person."""
    row = session.execute(_WHO, {"hash": hash_token(token)}).mappings().one_or_none()
    if row is None:
        return None
    return SignedIn(row["id"], row["user_id"], row["email"], row["verified"])


def end_session(session: Session, session_id: str) -> None:
    """End one session at once."""
    session.execute(text("DELETE FROM sessions WHERE id = :id"), {"id": session_id})


def end_sessions_of(session: Session, user_id: str) -> int:
    """End all sessions of a person, the old system's as well; return how many there were."""
    ended = session.execute(
        text('DELETE FROM sessions WHERE "userId" = :id RETURNING id'), {"id": user_id}
    )
    return len(ended.all())


_FORGET = text(
    """
    DELETE FROM sessions
    WHERE expires < statement_timestamp() AT TIME ZONE 'UTC' AND "sessionToken" LIKE 'sha256:%'
    RETURNING 1
    """
)


def forget_sessions(session: Session) -> int:
    """Delete our sessions that have ended; the old system's rows are its own. Return how many."""
    return len(session.execute(_FORGET).all())
