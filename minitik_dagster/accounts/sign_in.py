"""Signing in by a link in an e-mail: 256 random bits, 15 minutes, once.

Whoever asks for a link gets the same answer after the same work: the token and the message are written
for every address, and only when the message is sent is it looked whether somebody may read it
(notifications/sender.py). `verification_tokens` holds the token's hash, the message holds it sealed.
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import database_now
from minitik_dagster.accounts.sessions import hash_token, open_session
from minitik_dagster.accounts.users import create_user, read_address
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.models import User
from minitik_dagster.errors import FieldProblem, InvalidInputError
from minitik_dagster.notifications.notices import QUEUE_NOTICE, SIGN_IN_LINK, notice

LINK_LIFETIME: Final = timedelta(minutes=15)
_STORE: Final = text(
    """
    INSERT INTO verification_tokens (identifier, token, expires)
    VALUES (:address, :hash, (statement_timestamp() AT TIME ZONE 'UTC') + CAST(:lives AS interval))
    """
)
# One statement: of parallel calls with the same token one finds the row.
_CONSUME: Final = text(
    """
    DELETE FROM verification_tokens
    WHERE token = :hash AND expires > statement_timestamp() AT TIME ZONE 'UTC'
    RETURNING identifier
    """
)
_LOCK_ADDRESS: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_FORGET: Final = text(
    """
    DELETE FROM verification_tokens
    WHERE expires < statement_timestamp() AT TIME ZONE 'UTC' AND token LIKE 'sha256:%'
    RETURNING 1
    """
)


@dataclass(frozen=True)
class SignIn:
    """A person who has just signed in, and the token of their new session."""

    user_id: str
    email: str
    token: str


def request_link(session: Session, vault: Vault, email: str, *, site: str | None = None) -> None:
    """Queue a link to this address in the caller's transaction, whoever it belongs to.

    `site` is the address of a deployment that is not the database's own (db.instance): the link leads
    there, and the deployment of that address alone sends it. Raises InvalidInputError for what is no address.
    """
    address = read_address(email)
    token = secrets.token_urlsafe(32)
    session.execute(_STORE, {"address": address, "hash": hash_token(token), "lives": LINK_LIFETIME})
    facts = {"email": address, "token": vault.seal(token)}
    if site is not None:
        facts["site"] = site
    session.execute(text(QUEUE_NOTICE), notice(SIGN_IN_LINK, **facts))


def consume_link(session: Session, token: str, *, sign_up_open: bool) -> SignIn:
    """Use a link's token up and begin a session; the address counts as verified from now on.

    A stranger becomes a user where sign-up is open. Raises InvalidInputError for a token that is
    unknown, used or expired, and for a stranger where it is closed: the two look alike.
    """
    address = session.execute(_CONSUME, {"hash": hash_token(token)}).scalar_one_or_none()
    if address is None:
        raise _unusable()
    session.execute(_LOCK_ADDRESS, {"name": f"sign-in {address}"})
    user = session.scalars(
        select(User).where(func.lower(User.email) == address, User.deleted_at.is_(None))
    ).first()
    if user is None:
        if not sign_up_open:
            raise _unusable()
        user = create_user(session, address)
    elif user.email_verified is None:
        user.email_verified = database_now(session)
    return SignIn(user.id, user.email, open_session(session, user.id))


def forget_links(session: Session) -> int:
    """Delete our tokens that have expired; the old system's rows are its own. Return how many."""
    return len(session.execute(_FORGET).all())


def _unusable() -> InvalidInputError:
    return InvalidInputError(
        FieldProblem("token", "this link is unknown, used or expired", "ask for a new one")
    )
