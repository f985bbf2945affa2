"""Browsers that a person has subscribed to web push, in the old system's own table.

A subscription is what `PushManager.subscribe()` gives (W3C, "Push API", PushSubscription): an endpoint,
the browser's public key and a shared secret. Its endpoint is a URL given by a user and is looked at by the
outbound module before it is kept, and again at each message.
"""

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import NotificationSubscription
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import FieldProblem, InvalidInputError, NotFoundError, RuleRefusedError
from minitik_dagster.ids import new_id
from minitik_dagster.outbound import Outbound, OutboundError

MOST_PER_USER: Final = 20
_AUTH_BYTES: Final = 16
_NOW: Final = text("SELECT CAST(statement_timestamp() AT TIME ZONE 'UTC' AS timestamp(3))")
_FIX: Final = "send the subscription as PushManager.subscribe() gives it"


async def check_endpoint(outbound: Outbound, endpoint: str) -> None:
    """Refuse an endpoint to which nothing would be sent: InvalidInputError, naming why and the fix."""
    try:
        await outbound.check_url(endpoint)
    except OutboundError as error:
        raise InvalidInputError(FieldProblem("endpoint", str(error), _FIX)) from None


def check_keys(p256dh: str, auth: str) -> None:
    """Refuse keys that nothing can be encrypted for (RFC 8291, section 3.1); InvalidInputError."""
    problems = []
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded(p256dh))
    except ValueError:
        problems.append(FieldProblem("keys.p256dh", "is no point of P-256 in base64url", _FIX))
    try:
        fits = len(decoded(auth)) == _AUTH_BYTES
    except ValueError:
        fits = False
    if not fits:
        problems.append(FieldProblem("keys.auth", "is not 16 bytes in base64url", _FIX))
    if problems:
        raise InvalidInputError(*problems)


def decoded(text_: str) -> bytes:
    """Return the bytes of a base64url text, with or without padding; ValueError for any other."""
    plain = text_.rstrip("=").replace("+", "-").replace("/", "_")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError("not base64url") from None


def subscribe(
    session: Session, user_id: str, *, endpoint: str, p256dh: str, auth: str
) -> NotificationSubscription:
    """Keep a browser's subscription in the caller's transaction; RuleRefusedError beyond MOST_PER_USER.

    An endpoint belongs to one browser: subscribed again it gets its new keys, and its new person where
    somebody else has signed in there.
    """
    # One after the other: two at once must not both be the last that fits.
    session.execute(text("SELECT 1 FROM users WHERE id = :id FOR NO KEY UPDATE"), {"id": user_id})
    found = session.scalars(
        select(NotificationSubscription)
        .where(NotificationSubscription.endpoint == endpoint)
        .with_for_update()
    ).one_or_none()
    mine = found is not None and found.user_id == user_id
    count = select(func.count()).where(NotificationSubscription.user_id == user_id)
    if not mine and session.execute(count).scalar_one() >= MOST_PER_USER:
        raise RuleRefusedError(
            FieldProblem(
                "endpoint",
                f"there are {MOST_PER_USER} subscribed browsers already",
                "unsubscribe one that is not used any more",
            )
        )
    if found is None:
        found = NotificationSubscription(
            id=new_id(),
            user_id=user_id,
            endpoint=endpoint,
            p256dh=p256dh,
            auth=auth,
            created_at=_now(session),
        )
        session.add(found)
    else:
        found.user_id, found.p256dh, found.auth = user_id, p256dh, auth
    session.flush()
    return found


def find_subscription(
    session: Session, user_id: str, subscription_id: str
) -> NotificationSubscription:
    """Return one of the person's; NotFoundError."""
    found = session.get(NotificationSubscription, subscription_id)
    if found is None or found.user_id != user_id:
        raise NotFoundError("There is no such subscription.")
    return found


def list_subscriptions(session: Session, user_id: str) -> Sequence[NotificationSubscription]:
    """Return the person's, the oldest first."""
    wanted = select(NotificationSubscription).where(NotificationSubscription.user_id == user_id)
    return session.scalars(
        wanted.order_by(NotificationSubscription.created_at, NotificationSubscription.id)
    ).all()


def unsubscribe(session: Session, user_id: str, subscription_id: str) -> None:
    """Forget a browser; what waits for it is not sent; NotFoundError."""
    found = find_subscription(session, user_id, subscription_id)
    session.execute(delete(NotificationSubscription).where(NotificationSubscription.id == found.id))


def _now(session: Session) -> datetime:
    return from_db(session.execute(_NOW).scalar_one())
