"""TikTok's own events, signed and sent to a callback URL, with the lies that at-least-once allows.

Rules: "TikTok Webhooks, Overview" (retries until a 200), "Check the signature", "Webhook Events",
"Get Post Status" (the content posting events). What waits to be sent is forgotten at a restart.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from collections import deque
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, get_origin
from urllib.parse import urlsplit

import httpx2

from minitik_dagster.local.sandbox.clock import SandboxClock
from minitik_dagster.local.sandbox.store import Row, Store
from minitik_dagster.local.sandbox.urls import APP_CREDENTIALS

_SETTING: Final = "tiktokWebhook"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_TIMEOUT_SECONDS: Final = 10
# The real one goes on for 72 hours.
_RETRY_SECONDS: Final = (1, 2, 4, 8, 16)
_LOOK_SECONDS: Final = 0.1
_KEPT: Final = 1_000
_MOST_COPIES: Final = 50
_POST_TYPE: Final = "DIRECT_PUBLISH"


class EventError(ValueError):
    """An order about events was wrong; the text names the field and what it takes."""


@dataclass(frozen=True)
class Webhook:
    """Where TikTok's app sends its events, and how it lies.

    `copies`: how often each is sent. `delayMs`: how much later. `reversed`: a post is said to be public
    before it is said to be complete. `automatic`: events are sent of what happens, not of orders alone.
    """

    url: str
    clientKey: str = APP_CREDENTIALS["TIKTOK_CLIENT_ID"]
    clientSecret: str = APP_CREDENTIALS["TIKTOK_CLIENT_SECRET"]
    automatic: bool = True
    copies: int = 1
    delayMs: int = 0
    reversed: bool = False

    def __repr__(self) -> str:
        return f"Webhook(url={self.url!r})"

    def shown(self) -> dict[str, Any]:
        """Return it as JSON, without the secret."""
        return {name: value for name, value in asdict(self).items() if name != "clientSecret"}


@dataclass(frozen=True)
class Order:
    """An event to send; `forged` is signed with another secret, the two ages are in seconds."""

    event: str
    account: str
    content: dict[str, Any]
    createdSecondsAgo: int = 0
    signedSecondsAgo: int = 0
    forged: bool = False
    copies: int = 1


def parse_webhook(body: dict[str, Any]) -> Webhook:
    """Read where to send events; raises EventError naming the field."""
    webhook: Webhook = _built(Webhook, body, {"url": str})
    if urlsplit(webhook.url).hostname not in _LOOPBACK:
        raise EventError(f"url must be on loopback; got {webhook.url!r}")
    if not 1 <= webhook.copies <= _MOST_COPIES or webhook.delayMs < 0:
        raise EventError(f"copies must be 1 to {_MOST_COPIES}, and delayMs at least 0")
    return webhook


def parse_order(body: dict[str, Any]) -> Order:
    """Read an event to send; raises EventError naming the field."""
    order: Order = _built(Order, {"content": {}, **body}, {"event": str, "account": str})
    if not 1 <= order.copies <= _MOST_COPIES:
        raise EventError(f"copies must be 1 to {_MOST_COPIES}; got {order.copies}")
    return order


def _built(cls: Any, body: dict[str, Any], wanted: dict[str, type]) -> Any:
    known = cls.__dataclass_fields__
    for name, value in body.items():
        if name not in known:
            raise EventError(f"unknown field {name}; known are {', '.join(known)}")
        kind = get_origin(known[name].type) or known[name].type
        if type(value) is not kind:
            raise EventError(f"{name} must be of type {kind.__name__}; got {value!r}")
    for name in wanted:
        if not body.get(name):
            raise EventError(f"{name} is missing")
    return cls(**body)


class EventSender:
    """Signs and sends; remembers what was answered."""

    def __init__(self, store: Store, clock: SandboxClock) -> None:
        self._store = store
        self._clock = clock
        self._client: httpx2.AsyncClient | None = None
        self.deliveries: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    @property
    def webhook(self) -> Webhook | None:
        """Where events go; None: nowhere."""
        stored = self._store.read_setting(_SETTING)
        return Webhook(**stored) if stored else None

    def configure(self, webhook: Webhook | None) -> None:
        """Send events there from now on."""
        self._store.write_setting(_SETTING, asdict(webhook) if webhook else None)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def send(self, webhook: Webhook, order: Order) -> list[dict[str, Any]]:
        """Send one event, all its copies at once, without a retry; return what each was answered."""
        body, headers = _signed(webhook, order)
        return list(
            await asyncio.gather(
                *(self._deliver(webhook, order, body, headers) for _ in range(order.copies))
            )
        )

    async def send_at(self, webhook: Webhook, order: Order, at_ms: int) -> None:
        """Send an event when the sandbox's clock says so, and again until it is answered with 200."""
        # The clock may be put forward meanwhile, and tells nobody.
        while (left := at_ms + webhook.delayMs - self._clock.now_ms()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(left / 1000, _LOOK_SECONDS))
        body, headers = _signed(webhook, order)
        for _ in range(webhook.copies):
            for wait in (*_RETRY_SECONDS, None):
                answer = await self._deliver(webhook, order, body, headers)
                if answer["status"] == 200 or wait is None:
                    break
                await asyncio.sleep(wait)

    async def _deliver(
        self, webhook: Webhook, order: Order, body: bytes, headers: dict[str, str]
    ) -> dict[str, Any]:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                follow_redirects=False, trust_env=False, timeout=_TIMEOUT_SECONDS
            )
        status: int | None = None
        with contextlib.suppress(httpx2.HTTPError, httpx2.InvalidURL, OSError):
            answer = await self._client.post(webhook.url, content=body, headers=headers)
            status = answer.status_code
        done = {"event": order.event, "account": order.account, "status": status}
        self.deliveries.append(done)
        return done


def _signed(webhook: Webhook, order: Order) -> tuple[bytes, dict[str, str]]:
    # TikTok's receivers go by the world's clock, whatever a test has put the sandbox's forward by.
    now = int(time.time())
    body = json.dumps(
        {
            "client_key": webhook.clientKey,
            "event": order.event,
            "create_time": now - order.createdSecondsAgo,
            "user_openid": order.account,
            "content": json.dumps(order.content),
        }
    ).encode()
    signed_at = str(now - order.signedSecondsAgo)
    secret = "not the secret" if order.forged else webhook.clientSecret
    digest = hmac.new(secret.encode(), f"{signed_at}.".encode() + body, hashlib.sha256)
    signature = f"t={signed_at},s={digest.hexdigest()}"
    return body, {"TikTok-Signature": signature, "Content-Type": "application/json"}


def events_of_post(
    webhook: Webhook, row: Row, *, ends_at: int, fail_reason: str | None, post_id: str | None,
    public_at: int | None,
) -> list[tuple[Order, int]]:  # fmt: skip
    """Return what is told of a post, and when: its end, and that everybody can see it."""
    content = {"publish_id": row["publish_id"], "publish_type": _POST_TYPE}
    if fail_reason is not None:
        failed = Order("post.publish.failed", row["account"], {**content, "reason": fail_reason})
        return [(failed, ends_at)]
    complete = Order("post.publish.complete", row["account"], content)
    if public_at is None:
        return [(complete, ends_at)]
    public = replace(
        complete,
        event="post.publish.publicly_available",
        content={**content, "post_id": post_id},
    )
    if webhook.reversed:
        complete, public = public, complete
    return [(complete, ends_at), (public, public_at)]


def removal_of_post(account: str, publish_id: str, post_id: str) -> Order:
    """Return what is told of a post that nobody can see any more (TikTok's own spelling)."""
    content = {"publish_id": publish_id, "publish_type": _POST_TYPE, "post_id": post_id}
    return Order("post.publish.no_longer_publicaly_available", account, content)
