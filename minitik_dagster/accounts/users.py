"""The people: made by an operator, found by id or e-mail address."""

import re
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import database_now
from minitik_dagster.db.models import User
from minitik_dagster.db.types import SubscriptionTier
from minitik_dagster.errors import (
    FieldProblem,
    InvalidInputError,
    NotFoundError,
    StateConflictError,
)
from minitik_dagster.ids import new_id

_ADDRESS: Final = re.compile(r"[^@\s\x00]{1,64}@[^@\s\x00]+\.[^@\s\x00]+|[^@\s\x00]+@localhost")
_ADDRESS_CHARACTERS: Final = 254


def create_user(
    session: Session,
    email: str,
    *,
    name: str | None = None,
    tier: SubscriptionTier = SubscriptionTier.FREE,
    verified: bool = True,
) -> User:
    """Make a user; the address is kept in lower case.

    An operator who makes a user vouches for the address (`verified`). Raises InvalidInputError for
    what is no address, StateConflictError when there is such a user.
    """
    address = read_address(email)
    if _find(session, address) is not None:
        raise StateConflictError(f"there is a user {address} already", state="exists")
    now = database_now(session)
    user = User(
        id=new_id(),
        email=address,
        email_verified=now if verified else None,
        name=name,
        subscription_tier=tier,
        created_at=now,
        updated_at=now,
    )
    session.add(user)
    session.flush()
    return user


def read_address(email: str) -> str:
    """Return the address in lower case; InvalidInputError for what is none."""
    address = email.strip().lower()
    if len(address) > _ADDRESS_CHARACTERS or not _ADDRESS.fullmatch(address):
        raise InvalidInputError(
            FieldProblem("email", f"{email[:64]!r} is no e-mail address", "write name@host.example")
        )
    return address


def find_user(session: Session, user: str) -> User:
    """Return the user with this id, or this address in any case; NotFoundError if there is none."""
    wanted = user.strip()
    found = session.get(User, wanted) or _find(session, wanted.lower())
    if found is None:
        raise NotFoundError(f"no user {wanted[:64]!r}; make one with: minitik users create")
    return found


def _find(session: Session, address: str) -> User | None:
    return session.scalars(select(User).where(func.lower(User.email) == address)).first()
