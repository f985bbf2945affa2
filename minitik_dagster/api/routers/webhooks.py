"""`/api/webhooks`: where a person's events are sent, what became of each, and sending one again."""

import asyncio
from typing import Annotated, Final, Literal

from fastapi import Depends, Query, Response
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.dependencies import EngineDep, SessionDep, SettingsDep
from minitik_dagster.api.idempotency import OnceDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.webhooks import (
    DeliveriesView,
    DeliveryView,
    DisconnectedMessage,
    FailedMessage,
    NewWebhookView,
    PartialMessage,
    PublishedMessage,
    ReadyMessage,
    ResentView,
    WebhookBody,
    WebhookChange,
    WebhooksView,
    WebhookView,
)
from minitik_dagster.db.migrate import stamped_world
from minitik_dagster.errors import FieldProblem, InvalidInputError
from minitik_dagster.notifications import webhooks
from minitik_dagster.outbound import Outbound

router = Router(prefix="/api/webhooks", tags=["webhooks"])
# What is sent, as the OpenAPI document's `webhooks` tell it; nothing is served here.
sent = Router(tags=["webhooks"])
WebhooksDep = Annotated[Caller, Depends(require_scope("webhooks"))]
_RESOLVING_SECONDS: Final = 5.0


@router.post("", status_code=201, responses=problems(409, 422))
def create_webhook(
    body: WebhookBody,
    caller: WebhooksDep,
    engine: EngineDep,
    settings: SettingsDep,
    once: OnceDep,
    response: Response,
) -> NewWebhookView:
    """Make a webhook. Its secret, with which messages are signed, is shown this once."""
    response.headers["Cache-Control"] = "no-store"
    vault = Vault.from_settings(settings)
    if not once.known(engine):
        _check(engine, body.url)
    with Session(engine, expire_on_commit=False) as session, session.begin():
        if (before := once.replay(session, body)) is not None:
            found = webhooks.find_webhook(session, caller.user_id, before["webhookId"])
            return NewWebhookView.of(found)
        made, secret = webhooks.create_webhook(
            session,
            caller.user_id,
            url=body.url,
            events=body.events,
            description=body.description,
            seal=vault.seal,
        )
        once.keep(session, body, status=201, created={"webhookId": made.id})
        return NewWebhookView.of(made).model_copy(update={"secret": secret})


@router.get("", responses=problems())
def list_webhooks(caller: WebhooksDep, session: SessionDep) -> WebhooksView:
    """List the caller's webhooks; never their secrets."""
    found = webhooks.list_webhooks(session, caller.user_id)
    return WebhooksView(webhooks=[WebhookView.of(row) for row in found])


@router.get("/{webhook_id}", responses=problems(404))
def read_webhook(webhook_id: str, caller: WebhooksDep, session: SessionDep) -> WebhookView:
    """Read one."""
    return WebhookView.of(webhooks.find_webhook(session, caller.user_id, webhook_id))


@router.patch("/{webhook_id}", responses=problems(404))
def change_webhook(
    webhook_id: str, body: WebhookChange, caller: WebhooksDep, engine: EngineDep
) -> WebhookView:
    """Change its URL, its events or its description, or switch it off and on."""
    with Session(engine) as session, session.begin():
        webhooks.find_webhook(session, caller.user_id, webhook_id)
    if body.url is not None:
        _check(engine, body.url)
    with Session(engine, expire_on_commit=False) as session, session.begin():
        changed = webhooks.change_webhook(
            session,
            caller.user_id,
            webhook_id,
            url=body.url,
            events=body.events,
            description=body.description,
            enabled=body.enabled,
        )
        return WebhookView.of(changed)


@router.delete("/{webhook_id}", status_code=204, responses=problems(404))
def delete_webhook(webhook_id: str, caller: WebhooksDep, session: SessionDep) -> None:
    """Delete it with all that waits for it and its log."""
    webhooks.delete_webhook(session, caller.user_id, webhook_id)


@router.get("/{webhook_id}/deliveries", responses=problems(404))
def list_deliveries(
    webhook_id: str,
    caller: WebhooksDep,
    session: SessionDep,
    state: Literal["waiting", "delivered", "dead"] | None = None,
    before: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> DeliveriesView:
    """List its messages with every attempt, the newest first; kept for 30 days after their end."""
    rows = webhooks.list_deliveries(
        session, caller.user_id, webhook_id, state=state, before=before, limit=limit
    )
    more = rows[-1]["id"] if len(rows) == limit else None
    return DeliveriesView(deliveries=[DeliveryView.of(row) for row in rows], next_before=more)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/resend", status_code=202, responses=problems(404)
)
def resend_delivery(
    webhook_id: str, delivery_id: str, caller: WebhooksDep, session: SessionDep
) -> ResentView:
    """Send a message again, under the same `webhook-id`, with a day for it; a dead one too."""
    webhooks.resend(session, caller.user_id, webhook_id, delivery_id)
    return ResentView(id=delivery_id, state="waiting")


@sent.post("publication.published")
def publication_published(body: PublishedMessage) -> None:
    """A publication is public: the platform itself says so."""


@sent.post("publication.failed")
def publication_failed(body: FailedMessage) -> None:
    """A publication has failed for good; `error` says why and what to do."""


@sent.post("publication.partial")
def publication_partial(body: PartialMessage) -> None:
    """All of a content's publications have ended: some are public, some failed."""


@sent.post("account.disconnected")
def account_disconnected(body: DisconnectedMessage) -> None:
    """An account's access has ended; its posts are held until it is connected again."""


@sent.post("content.ready")
def content_ready(body: ReadyMessage) -> None:
    """An upload is complete and checked: the content can be scheduled."""


def _check(engine: Engine, url: str) -> None:
    """Refuse a URL that is not sent to, outside of any transaction: names are resolved."""
    with Session(engine) as session, session.begin():
        loopback = stamped_world(session.connection()) == "sandbox"

    async def check() -> None:
        async with asyncio.timeout(_RESOLVING_SECONDS):
            await webhooks.check_target(Outbound(loopback=loopback), url)

    try:
        asyncio.run(check())
    except TimeoutError:
        raise InvalidInputError(
            FieldProblem("url", "its name was not resolved in time", "try again")
        ) from None
