"""Bodies of `/api/webhooks`, and the payloads that programs are sent: the contract of each event."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr
from pydantic.alias_generators import to_camel

from minitik_dagster.api.schemas.base import Body, Instant, View
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.tables import Webhook
from minitik_dagster.db.types import AccountStatus, PublicationStatus
from minitik_dagster.notifications.events import WEBHOOK_TYPES
from minitik_dagster.outbound import URL_CHARACTERS

Url = Annotated[StrictStr, Field(min_length=1, max_length=URL_CHARACTERS)]
Events = Annotated[
    list[Annotated[StrictStr, Field(max_length=100)]],
    Field(min_length=1, max_length=20, examples=[list(WEBHOOK_TYPES)]),
]
Description = Annotated[StrictStr, Field(max_length=200)]


class WebhookBody(Body):
    """A new webhook; without `events` it is sent all of them."""

    url: Url
    events: Events | None = None
    description: Description | None = None


class WebhookChange(Body):
    """What is to change; what is left out stays. `enabled` true begins anew after a 410."""

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    enabled: StrictBool | None = None


class WebhookView(View):
    """A webhook; `failingSince`: its last attempt failed; `disabledReason` says why it is off."""

    id: str
    url: str
    description: str | None
    events: list[str]
    enabled: bool
    created_at: Instant
    updated_at: Instant
    failing_since: Instant | None
    disabled_at: Instant | None
    disabled_reason: str | None

    @classmethod
    def of(cls, row: Webhook) -> Self:
        """Show a webhook; never its secret."""
        names = (name for name in WebhookView.model_fields if name != "enabled")
        facts = {name: getattr(row, name) for name in names}
        return cls(enabled=row.disabled_at is None, **facts)


class NewWebhookView(WebhookView):
    """A webhook just made; `secret` is shown this once, null when an Idempotency-Key is replayed."""

    secret: str | None = None


class WebhooksView(View):
    """The caller's webhooks, the oldest first."""

    webhooks: list[WebhookView]


class AttemptView(View):
    """One try: the status of the answer and its beginning, or what went wrong."""

    attempt: int
    at: str
    status_code: int | None
    duration_ms: int
    answer: str | None
    error: str | None


class DeliveryView(View):
    """A message for a webhook; `id` is its `webhook-id`, `timestamp` when it happened."""

    id: str
    type: str
    timestamp: Instant
    state: Literal["waiting", "delivered", "dead"]
    attempts: int
    status_code: int | None
    error: str | None
    next_attempt_at: Instant | None
    done_at: Instant | None
    tries: list[AttemptView]

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        """Show a delivery."""
        tries = [AttemptView.model_validate(item) for item in row["tries"]]
        facts = {name: value for name, value in row.items() if name not in {"tries", "at"}}
        return cls(timestamp=row["at"], tries=tries, **facts)


class DeliveriesView(View):
    """A webhook's deliveries, the newest first; `nextBefore` asks for what is older."""

    deliveries: list[DeliveryView]
    next_before: str | None


class ResentView(View):
    """A delivery that is sent again, under the same `webhook-id`."""

    id: str
    state: Literal["waiting"]


class Payload(BaseModel):
    """What a program is sent: fields may be added to it, none is renamed or taken away."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


Provider = Literal["tiktok", "instagram", "youtube"]


class _Publication(Payload):
    publication_id: str
    content_id: str
    account_id: str
    platform: Provider
    scheduled_job_id: str | None


class PublishedData(_Publication):
    """The platform says it is public. A public id or address that is not known yet is null."""

    due_at: datetime | None
    published_at: datetime | None
    verified_at: datetime
    platform_post_id: str | None
    permalink: str | None


class FailureData(Payload):
    """Why it failed: a code of docs/errors.md, in plain words, and what to do."""

    code: str | None
    reason: str | None
    fix: str


class FailedData(_Publication):
    """It will not be published, unless it is replayed. What was cancelled has not failed."""

    due_at: datetime | None
    error: FailureData


class PartialPublication(Payload):
    """One post of a content that is partly public."""

    publication_id: str
    account_id: str
    platform: Provider
    stage: Stage
    status: PublicationStatus
    error_code: str | None


class PartialData(Payload):
    """Every post of the content has ended: some are public, some failed."""

    content_id: str
    publications: list[PartialPublication]


class DisconnectedData(Payload):
    """The account cannot publish until it is connected again; its posts are held."""

    account_id: str
    platform: Provider
    status: AccountStatus
    reason: str
    held_posts: int


class ReadyData(Payload):
    """An upload is complete and was checked; `fileSize` in bytes, `duration` in seconds."""

    content_id: str
    mime_type: str
    file_size: str
    duration: float | None


class ChangedData(_Publication):
    """Where a publication stands now (`GET /api/events` only)."""

    stage: Stage
    status: PublicationStatus
    error_code: str | None


class PublishedMessage(Payload):
    """A publication is public, seen by asking the platform."""

    type: Literal["publication.published"]
    timestamp: datetime
    data: PublishedData


class FailedMessage(Payload):
    """A publication has failed for good."""

    type: Literal["publication.failed"]
    timestamp: datetime
    data: FailedData


class PartialMessage(Payload):
    """Of a content's publications some are public and some failed."""

    type: Literal["publication.partial"]
    timestamp: datetime
    data: PartialData


class DisconnectedMessage(Payload):
    """An account's access has ended."""

    type: Literal["account.disconnected"]
    timestamp: datetime
    data: DisconnectedData


class ReadyMessage(Payload):
    """A content can be scheduled."""

    type: Literal["content.ready"]
    timestamp: datetime
    data: ReadyData


class ChangedMessage(Payload):
    """A publication's stage is another one."""

    type: Literal["publication.changed"]
    timestamp: datetime
    data: ChangedData


Message = PublishedMessage | FailedMessage | PartialMessage | DisconnectedMessage | ReadyMessage
