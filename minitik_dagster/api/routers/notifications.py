"""`/api/notifications`: what a person wishes to be told, and their browsers' push subscriptions."""

import asyncio
from dataclasses import replace
from itertools import product
from typing import Annotated, Final

from fastapi import Depends
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.dependencies import EngineDep, SessionDep, SettingsDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.notifications import (
    PreferencesChange,
    PreferencesView,
    PushKeyView,
    SubscriptionBody,
    SubscriptionsView,
    SubscriptionView,
    wall,
)
from minitik_dagster.db.migrate import stamped_world
from minitik_dagster.errors import FieldProblem, InvalidInputError
from minitik_dagster.notifications import subscriptions
from minitik_dagster.notifications.kinds import Channel, Kind
from minitik_dagster.notifications.preferences import (
    Preferences,
    QuietHours,
    lock_preferences,
    read_preferences,
    write_preferences,
)
from minitik_dagster.notifications.web_push import PushIdentity
from minitik_dagster.outbound import Outbound
from minitik_dagster.scheduling.instants import require_zone

router = Router(prefix="/api/notifications", tags=["notifications"])
NotificationsDep = Annotated[Caller, Depends(require_scope("notifications"))]
_RESOLVING_SECONDS: Final = 5.0


@router.get("/preferences", responses=problems())
def read_wishes(caller: NotificationsDep, session: SessionDep) -> PreferencesView:
    """Read which kinds are told by which channels, the quiet hours and the reminders' lead."""
    return PreferencesView.of(read_preferences(session, caller.user_id))


@router.patch("/preferences", responses=problems())
def change_wishes(
    body: PreferencesChange, caller: NotificationsDep, session: SessionDep
) -> PreferencesView:
    """Change what is given. What waits in the outbox is judged by the wishes of the time it is sent."""
    wishes = _changed(lock_preferences(session, caller.user_id), body)
    write_preferences(session, caller.user_id, wishes)
    return PreferencesView.of(wishes)


@router.get(
    "/push-key", responses=problems(), dependencies=[Depends(require_scope("notifications"))]
)
def read_push_key(settings: SettingsDep) -> PushKeyView:
    """Read the VAPID public key; null where web push is not configured."""
    configured = PushIdentity.of(settings) is not None
    return PushKeyView(public_key=settings.vapid_public_key if configured else None)


@router.get("/subscriptions", responses=problems())
def list_subscriptions(caller: NotificationsDep, session: SessionDep) -> SubscriptionsView:
    """List the caller's subscribed browsers."""
    found = subscriptions.list_subscriptions(session, caller.user_id)
    return SubscriptionsView(subscriptions=[SubscriptionView.of(row) for row in found])


@router.post("/subscriptions", status_code=201, responses=problems(422))
def subscribe(
    body: SubscriptionBody, caller: NotificationsDep, engine: EngineDep
) -> SubscriptionView:
    """Subscribe a browser to web push. Sent again it is the same subscription, with its new keys."""
    subscriptions.check_keys(body.keys.p256dh, body.keys.auth)
    _check(engine, body.endpoint)
    with Session(engine, expire_on_commit=False) as session, session.begin():
        made = subscriptions.subscribe(
            session,
            caller.user_id,
            endpoint=body.endpoint,
            p256dh=body.keys.p256dh,
            auth=body.keys.auth,
        )
        return SubscriptionView.of(made)


@router.delete("/subscriptions/{subscription_id}", status_code=204, responses=problems(404))
def unsubscribe(subscription_id: str, caller: NotificationsDep, session: SessionDep) -> None:
    """Forget a browser; what waits for it is not sent."""
    subscriptions.unsubscribe(session, caller.user_id, subscription_id)


def _changed(wishes: Preferences, body: PreferencesChange) -> Preferences:
    """Return the wishes with what the body names; InvalidInputError for a zone or hours that are none."""
    choices = {kind: dict(chosen) for kind, chosen in wishes.choices.items()}
    for kind, channel in product(Kind, Channel):
        channels = getattr(body.kinds, kind.value, None)
        if channels is not None:
            wanted = getattr(channels, channel.value)
            if wanted is not None:
                choices.setdefault(kind, {})[channel] = wanted
    wishes = replace(wishes, choices=choices)
    if body.timezone is not None:
        require_zone(body.timezone)
        wishes = replace(wishes, timezone=body.timezone)
    if "quiet_hours" in body.model_fields_set:
        wishes = replace(wishes, quiet=_quiet(body))
    if body.urgent_passes is not None:
        wishes = replace(wishes, urgent_passes=body.urgent_passes)
    if body.reminder_minutes is not None:
        wishes = replace(wishes, reminder_minutes=body.reminder_minutes)
    return wishes


def _quiet(body: PreferencesChange) -> QuietHours | None:
    given = body.quiet_hours
    if given is None:
        return None
    if given.from_ == given.to:
        raise InvalidInputError(
            FieldProblem(
                "quietHours.to",
                "is the same as from",
                "switch kinds off to be told nothing at all; null ends the quiet hours",
            )
        )
    return QuietHours(wall(given.from_), wall(given.to))


def _check(engine: Engine, endpoint: str) -> None:
    """Refuse an endpoint that is not sent to, outside of any transaction: names are resolved."""
    with Session(engine) as session, session.begin():
        loopback = stamped_world(session.connection()) == "sandbox"

    async def check() -> None:
        async with asyncio.timeout(_RESOLVING_SECONDS):
            await subscriptions.check_endpoint(Outbound(loopback=loopback), endpoint)

    try:
        asyncio.run(check())
    except TimeoutError:
        raise InvalidInputError(
            FieldProblem("endpoint", "its name was not resolved in time", "try again")
        ) from None
