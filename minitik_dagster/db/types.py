"""Column types of the adopted schema: `timestamp(3)` in UTC without zone, and its enums."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Dialect, Enum
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import TypeDecorator


class Platform(StrEnum):
    """A platform we publish to; the value is the adopted enum's, `.value.lower()` the provider."""

    TIKTOK = "TIKTOK"
    INSTAGRAM = "INSTAGRAM"
    YOUTUBE = "YOUTUBE"


class AccountStatus(StrEnum):
    """Whether an account can be used."""

    CONNECTING = "CONNECTING"
    CONNECTED = "CONNECTED"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"
    ERROR = "ERROR"


class ContentStatus(StrEnum):
    """A content's state as readers of the old schema know it."""

    DRAFT = "DRAFT"
    SCHEDULED = "SCHEDULED"
    PUBLISHING = "PUBLISHING"
    PUBLISHED = "PUBLISHED"
    FAILED = "FAILED"


class PublicationStatus(StrEnum):
    """A publication's state as readers of the old schema know it; `stage` is finer."""

    QUEUED = "QUEUED"
    PUBLISHING = "PUBLISHING"
    PUBLISHED = "PUBLISHED"
    FAILED = "FAILED"


class SubscriptionTier(StrEnum):
    """What a user has paid for; limits hang on it."""

    FREE = "FREE"
    PRO = "PRO"
    BUSINESS = "BUSINESS"


class JobPriority(StrEnum):
    """HIGH goes before NORMAL before LOW among posts due at one instant."""

    LOW = "LOW"
    NORMAL = "NORMAL"
    HIGH = "HIGH"


class JobStatus(StrEnum):
    """A scheduled job's state."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


def pg_enum(cls: type[StrEnum]) -> Enum:
    """Return the adopted enum type of the same name; it is never created or changed here."""
    return Enum(
        cls,
        name=cls.__name__,
        create_type=False,
        values_callable=lambda members: [member.value for member in members],
    )


class UtcTimestamp(TypeDecorator[datetime]):
    """An aware UTC instant in Python, `timestamp(3)` without zone in PostgreSQL.

    A naive value is refused: it has no instant.
    """

    impl = TIMESTAMP(precision=3)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Turn an aware instant into naive UTC."""
        if value is None:
            return None
        return to_db(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Mark what was stored as UTC."""
        return None if value is None else from_db(value)


def to_db(instant: datetime) -> datetime:
    """Turn an aware instant into the naive UTC that `timestamp(3)` holds; ValueError if naive."""
    if instant.tzinfo is None:
        raise ValueError("a naive datetime has no instant; pass an aware one")
    return instant.astimezone(UTC).replace(tzinfo=None)


def from_db(stored: datetime) -> datetime:
    """Read a stored naive UTC timestamp as an aware instant."""
    return stored.replace(tzinfo=UTC)
