"""Bodies of `/api/notifications`."""

from datetime import datetime, time
from typing import Annotated, Final, Self

from pydantic import Field, StrictBool, StrictInt, StrictStr

from minitik_dagster.api.schemas.base import Body, Instant, View
from minitik_dagster.db.models import NotificationSubscription
from minitik_dagster.notifications.kinds import Channel, Kind
from minitik_dagster.notifications.preferences import REMINDER_MINUTES as MINUTES
from minitik_dagster.notifications.preferences import Preferences
from minitik_dagster.outbound import URL_CHARACTERS

_WALL: Final = "%H:%M"
WallTime = Annotated[
    StrictStr, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["22:00"])
]
Zone = Annotated[StrictStr, Field(max_length=64, examples=["Europe/Lisbon"])]


class ChannelsBody(Body):
    """By which channels a kind is told; what is left out stays."""

    push: StrictBool | None = None
    email: StrictBool | None = None


class KindsBody(Body):
    """The kinds whose channels are to change."""

    content_published: Annotated[ChannelsBody | None, Field(alias="content_published")] = None
    publication_failed: Annotated[ChannelsBody | None, Field(alias="publication_failed")] = None
    analytics_update: Annotated[ChannelsBody | None, Field(alias="analytics_update")] = None
    account_disconnected: Annotated[ChannelsBody | None, Field(alias="account_disconnected")] = None
    schedule_reminder: Annotated[ChannelsBody | None, Field(alias="schedule_reminder")] = None


class QuietHoursBody(Body):
    """Wall time in `timezone`, over midnight where `to` is the earlier."""

    from_: WallTime = Field(alias="from")
    to: WallTime


class PreferencesChange(Body):
    """What is to change; what is left out stays. `quietHours` null: there are none."""

    kinds: KindsBody | None = None
    timezone: Zone | None = None
    quiet_hours: QuietHoursBody | None = None
    urgent_passes: StrictBool | None = None
    reminder_minutes: Annotated[StrictInt, Field(ge=MINUTES[0], le=MINUTES[1])] | None = None


class ChannelsView(View):
    """By which channels a kind is told."""

    push: bool
    email: bool


class QuietHoursView(View):
    """What falls between waits for `to`."""

    from_: str = Field(serialization_alias="from", validation_alias="from")
    to: str


class PreferencesView(View):
    """A person's wishes. `urgentPasses`: a failed post, or one that will fail, is told at once."""

    kinds: dict[Kind, ChannelsView]
    timezone: str
    quiet_hours: QuietHoursView | None
    urgent_passes: bool
    reminder_minutes: int

    @classmethod
    def of(cls, wishes: Preferences) -> Self:
        """Show a person's wishes."""
        quiet = wishes.quiet
        return cls(
            kinds={
                kind: ChannelsView(
                    push=wishes.wants(kind, Channel.PUSH), email=wishes.wants(kind, Channel.EMAIL)
                )
                for kind in Kind
            },
            timezone=wishes.timezone,
            quiet_hours=QuietHoursView.model_validate(
                {"from": _shown(quiet.start), "to": _shown(quiet.end)}
            )
            if quiet
            else None,
            urgent_passes=wishes.urgent_passes,
            reminder_minutes=wishes.reminder_minutes,
        )


class PushKeyView(View):
    """What a browser's `PushManager.subscribe()` takes as `applicationServerKey`."""

    public_key: str | None


class KeysBody(Body):
    """A subscription's keys, in base64url."""

    p256dh: Annotated[StrictStr, Field(alias="p256dh", max_length=200)]
    auth: Annotated[StrictStr, Field(max_length=100)]


class SubscriptionBody(Body):
    """A `PushSubscription` as its `toJSON()` writes it."""

    endpoint: Annotated[StrictStr, Field(min_length=1, max_length=URL_CHARACTERS)]
    # A browser writes it; it tells us by 404 or 410 when it has ended.
    expiration_time: float | None = None
    keys: KeysBody


class SubscriptionView(View):
    """A subscribed browser; of its endpoint, which is a credential, the host only."""

    id: str
    host: str
    created_at: Instant

    @classmethod
    def of(cls, row: NotificationSubscription) -> Self:
        """Show a subscription; never its keys."""
        created: datetime = row.created_at
        return cls(id=row.id, host=_host(row.endpoint), created_at=created)


class SubscriptionsView(View):
    """The caller's subscribed browsers, the oldest first."""

    subscriptions: list[SubscriptionView]


def wall(text: str) -> time:
    """Read a WallTime."""
    return time.fromisoformat(text)


def _shown(at: time) -> str:
    return at.strftime(_WALL)


def _host(endpoint: str) -> str:
    return endpoint.partition("://")[2].partition("/")[0].rpartition("@")[2]
