"""Webhooks: where a user's events are sent, by Standard Webhooks (www.standardwebhooks.com).

A secret is shown when it is made and never again; it is kept sealed. Of a webhook's URL errors name
scheme and host only.
"""

import base64
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from minitik_dagster.db.tables import Webhook
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import (
    FieldProblem,
    InvalidInputError,
    NotFoundError,
    RuleRefusedError,
)
from minitik_dagster.ids import new_id
from minitik_dagster.notifications import webhook_queries as queries
from minitik_dagster.notifications.events import WEBHOOK_TYPES
from minitik_dagster.outbound import Outbound, OutboundError

MOST_PER_USER: Final = 10
SWITCHED_OFF: Final = "its owner switched it off"
# Standard Webhooks: "between 24 bytes (192 bits) and 64 bytes (512 bits)".
_SECRET_BYTES: Final = 32
_NOW: Final = text("SELECT statement_timestamp() AT TIME ZONE 'UTC'")


def new_secret() -> str:
    """Return a new signing secret, `whsec_` and base64."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}"


async def check_target(outbound: Outbound, url: str) -> None:
    """Refuse a URL to which nothing would be sent: InvalidInputError, naming why and the fix."""
    try:
        await outbound.check_url(url)
    except OutboundError as error:
        raise InvalidInputError(
            FieldProblem("url", str(error), "give an https URL of a server on the public internet")
        ) from None


def create_webhook(
    session: Session,
    user_id: str,
    *,
    url: str,
    events: Sequence[str] | None,
    description: str | None,
    seal: Callable[[str], str],
) -> tuple[Webhook, str]:
    """Make a webhook in the caller's transaction; return it and its secret, which is shown this once.

    `events` None asks for all. Raises InvalidInputError for an unknown type, RuleRefusedError beyond
    MOST_PER_USER.
    """
    # One after the other: two at once must not both be the last that fits.
    session.execute(text("SELECT 1 FROM users WHERE id = :id FOR NO KEY UPDATE"), {"id": user_id})
    count = select(func.count()).select_from(Webhook).where(Webhook.user_id == user_id)
    if session.execute(count).scalar_one() >= MOST_PER_USER:
        raise RuleRefusedError(
            FieldProblem(
                "url", f"there are {MOST_PER_USER} webhooks already", "delete one you do not need"
            )
        )
    secret, now = new_secret(), _now(session)
    made = Webhook(
        id=new_id(),
        user_id=user_id,
        url=url,
        description=description,
        events=_known(WEBHOOK_TYPES if events is None else events),
        secret=seal(secret),
        created_at=now,
        updated_at=now,
    )
    session.add(made)
    session.flush()
    return made, secret


def find_webhook(
    session: Session, user_id: str | None, webhook_id: str, *, lock: bool = False
) -> Webhook:
    """Return the user's webhook (anybody's for an operator, None); NotFoundError."""
    wanted = select(Webhook).where(Webhook.id == webhook_id)
    if user_id is not None:
        wanted = wanted.where(Webhook.user_id == user_id)
    found = session.scalars(wanted.with_for_update() if lock else wanted).one_or_none()
    if found is None:
        raise NotFoundError("There is no such webhook.")
    return found


def list_webhooks(session: Session, user_id: str | None) -> Sequence[Webhook]:
    """Return the user's webhooks (everybody's for an operator, None), the oldest first."""
    wanted = select(Webhook).order_by(Webhook.created_at, Webhook.id)
    if user_id is not None:
        wanted = wanted.where(Webhook.user_id == user_id)
    return session.scalars(wanted).all()


def change_webhook(
    session: Session,
    user_id: str,
    webhook_id: str,
    *,
    url: str | None = None,
    events: Sequence[str] | None = None,
    description: str | None = None,
    enabled: bool | None = None,
) -> Webhook:
    """Change what is given; NotFoundError, InvalidInputError for an unknown type of event.

    Switched on again it begins anew: what waits is sent at its time, what is dead stays dead.
    """
    found = find_webhook(session, user_id, webhook_id, lock=True)
    now = _now(session)
    if url is not None and url != found.url:
        found.url, found.failing_since = url, None
    if events is not None:
        found.events = _known(events)
    if description is not None:
        found.description = description or None
    if enabled is True:
        found.disabled_at = found.disabled_reason = found.failing_since = None
    elif enabled is False and found.disabled_at is None:
        found.disabled_at, found.disabled_reason = now, SWITCHED_OFF
    found.updated_at = now
    session.flush()
    return found


def delete_webhook(session: Session, user_id: str, webhook_id: str) -> None:
    """Delete a webhook with its deliveries; NotFoundError."""
    session.delete(find_webhook(session, user_id, webhook_id, lock=True))


def list_deliveries(
    session: Session,
    user_id: str | None,
    webhook_id: str,
    *,
    state: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Return a webhook's deliveries with their attempts, the newest first; NotFoundError."""
    find_webhook(session, user_id, webhook_id)
    values = {"webhook_id": webhook_id, "state": state, "before": before, "limit": limit}
    return [
        {name: _aware(value) for name, value in row.items()}
        for row in session.execute(text(queries.DELIVERIES), values).mappings()
    ]


def resend(session: Session, user_id: str | None, webhook_id: str, delivery_id: str) -> None:
    """Send a delivery again, under its own id, with a day for it; NotFoundError.

    A webhook that is switched off sends it once it is on again.
    """
    find_webhook(session, user_id, webhook_id)
    values = {"id": delivery_id, "webhook_id": webhook_id}
    if session.execute(text(queries.RESEND), values).first() is None:
        raise NotFoundError("There is no such delivery.")


def _known(events: Sequence[str]) -> list[str]:
    for number, kind in enumerate(events):
        if kind not in WEBHOOK_TYPES:
            raise InvalidInputError(
                FieldProblem(
                    f"events[{number}]",
                    f"{kind[:64]!r} is no event",
                    f"use {', '.join(WEBHOOK_TYPES)}",
                )
            )
    return [kind for kind in WEBHOOK_TYPES if kind in events]


def _now(session: Session) -> datetime:
    return from_db(session.execute(_NOW).scalar_one())


def _aware(value: Any) -> Any:
    return from_db(value) if isinstance(value, datetime) else value
