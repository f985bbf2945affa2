"""Sends web push messages from the outbox: a row per notice and browser, each tried alone.

Any number of processes may: SKIP LOCKED divides the rows, and a claim pushes the row's own `dueAt` ahead,
so that a crash makes it due again. A message may come twice then, under the same id, and is never lost.
"Generic Event Delivery Using HTTP Push" (RFC 8030): 201 is taken; 404 and 410 are a subscription that has
ended, and it is removed; everything else is tried again for a day.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

import structlog
from sqlalchemy import Engine, text

from minitik_dagster.clock import iso_z
from minitik_dagster.db.instance import is_ours
from minitik_dagster.db.types import from_db
from minitik_dagster.notifications import outbox_rows
from minitik_dagster.notifications.addressee import Addressee, find
from minitik_dagster.notifications.event_queries import NOW
from minitik_dagster.notifications.kinds import Channel
from minitik_dagster.notifications.notices import PUSH
from minitik_dagster.notifications.preferences import KINDS, URGENT
from minitik_dagster.notifications.texts import TEXTS
from minitik_dagster.notifications.web_push import PushIdentity, encrypted
from minitik_dagster.outbound import Fetched, Outbound, OutboundError, OutboundRefusedError
from minitik_dagster.resilience.backoff import backoff_delay
from minitik_dagster.settings import Settings

_log = structlog.get_logger(__name__)
PLACES: Final = 16
ANSWER_SECONDS: Final = 10.0
_ANSWER_BYTES: Final = 1_000
# Longer than an attempt takes.
_BUSY: Final = timedelta(seconds=60)
_GIVE_UP: Final = timedelta(days=1)
_LONGEST_WAIT: Final = timedelta(hours=2)
_GONE: Final = frozenset({404, 410})
# Sent again as it is, it would be refused again.
_REFUSED: Final = frozenset({400, 413})

_CLAIM: Final = text(
    f"""
    WITH due AS (
        SELECT id FROM outbox WHERE "doneAt" IS NULL AND kind = '{PUSH}' AND "dueAt" <= {NOW}
        ORDER BY "dueAt" LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE outbox o SET attempts = o.attempts + 1, "dueAt" = {NOW} + CAST(:busy AS interval)
    FROM due WHERE o.id = due.id
    RETURNING o.id, o.payload, o.attempts, o."createdAt" AS created_at, {outbox_rows.AGE} AS age
    """  # noqa: S608 - constants
)
_SUBSCRIPTION: Final = text(
    """
    SELECT s.endpoint, s.p256dh, s.auth,
        (SELECT value #>> '{}' FROM settings WHERE key = 'world') AS world
    FROM notification_subscriptions s WHERE s.id = :id AND s."userId" = :user_id
    """
)
# Subscribed again meanwhile it has other keys, and lives.
_REMOVE: Final = text("DELETE FROM notification_subscriptions WHERE id = :id AND auth = :auth")


@dataclass(frozen=True)
class _Message:
    """What is to be sent, and where."""

    row: Mapping[str, Any]
    subscription: Mapping[str, Any] = field(repr=False)
    person: Addressee

    @property
    def notice(self) -> str:
        return str(self.row["payload"]["notice"])


@dataclass(frozen=True)
class PushSender:
    """One process's share in sending.

    Nothing is claimed where web push is not configured, nor of another deployment's.
    """

    engine: Engine
    settings: Settings
    random: Random = field(default_factory=Random)

    def work(self) -> int:
        """Send a handful of what is due, side by side; return how many were claimed."""
        identity = PushIdentity.of(self.settings)
        if identity is None:
            return 0
        with self.engine.begin() as connection:
            if not is_ours(connection, self.settings):
                return 0
            values = {"limit": PLACES, "busy": _BUSY}
            claimed = [dict(row) for row in connection.execute(_CLAIM, values).mappings()]
        messages = [found for row in claimed if (found := self._message(row)) is not None]
        if messages:
            asyncio.run(self._send_all(messages, identity))
        return len(claimed)

    def _message(self, row: Mapping[str, Any]) -> _Message | None:
        """Return what is to be sent; None, with the row seen to, where nothing is now."""
        payload = row["payload"]
        values = {"id": payload["subscriptionId"], "user_id": payload["userId"]}
        with self.engine.begin() as connection:
            kept = connection.execute(_SUBSCRIPTION, values).mappings().one_or_none()
            subscription = dict(kept) if kept is not None else None
            person = find(connection, payload["notice"], payload, self.settings.nextauth_url)
            note = self._reason_against(row, subscription, person)
            if note is not None:
                outbox_rows.done(connection, row["id"], note)
                return None
            assert person is not None
            assert subscription is not None
            until = person.wishes.held_until(payload["notice"], person.now)
            if until is not None:
                outbox_rows.hold(connection, row["id"], until)
                return None
        return _Message(row, subscription, person)

    def _reason_against(
        self,
        row: Mapping[str, Any],
        subscription: Mapping[str, Any] | None,
        person: Addressee | None,
    ) -> str | None:
        if subscription is None or person is None:
            return "the subscription is gone"
        if person.overtaken is not None:
            return person.overtaken
        if not person.wishes.wants(KINDS[row["payload"]["notice"]], Channel.PUSH):
            return "not wanted by push"
        if row["age"] > _GIVE_UP:
            _log.error("push.given_up", notice=row["id"])
            return "given up: it was not taken within a day"
        return None

    async def _send_all(self, messages: list[_Message], identity: PushIdentity) -> None:
        await asyncio.gather(*(self._deliver(message, identity) for message in messages))

    async def _deliver(self, message: _Message, identity: PushIdentity) -> None:
        try:
            fetched = await self._attempt(message, identity)
        except OutboundRefusedError as refused:
            self._done(message, str(refused))
        except OutboundError as failed:
            self._again(message, str(failed))
        except ValueError:
            # Keys that the old system took, and that are none.
            self._remove(message, "its keys are none")
        else:
            self._judge(message, fetched)

    async def _attempt(self, message: _Message, identity: PushIdentity) -> Fetched:
        facts = message.subscription
        body = encrypted(words(message), p256dh=facts["p256dh"], auth=facts["auth"])
        return await Outbound(loopback=facts["world"] == "sandbox").fetch(
            facts["endpoint"],
            method="POST",
            headers={
                "Content-Encoding": "aes128gcm",
                "Content-Type": "application/octet-stream",
                "TTL": str(int(_GIVE_UP.total_seconds())),
                "Urgency": "high" if message.notice in URGENT else "normal",
                **identity.headers(facts["endpoint"], message.person.now),
            },
            content=body,
            max_bytes=_ANSWER_BYTES,
            seconds=ANSWER_SECONDS,
            cut=True,
        )

    def _judge(self, message: _Message, fetched: Fetched) -> None:
        status = fetched.status
        if 200 <= status < 300:
            _log.info("push.sent", notice=message.row["id"], kind=message.notice)
            self._done(message, None)
        elif status in _GONE:
            self._remove(message, f"the push service answered {status}: it has ended")
        elif status in _REFUSED:
            _log.error("push.refused", notice=message.row["id"], status=status)
            self._done(message, f"the push service answered {status}")
        else:
            self._again(message, f"the push service answered {status}", _wait_asked(fetched))

    def _remove(self, message: _Message, note: str) -> None:
        values = {
            "id": message.row["payload"]["subscriptionId"],
            "auth": message.subscription["auth"],
        }
        with self.engine.begin() as connection:
            connection.execute(_REMOVE, values)
            outbox_rows.done(connection, message.row["id"], note)
        _log.info("push.unsubscribed", subscription=values["id"], reason=note)

    def _done(self, message: _Message, note: str | None) -> None:
        with self.engine.begin() as connection:
            outbox_rows.done(connection, message.row["id"], note)

    def _again(self, message: _Message, note: str, asked: timedelta | None = None) -> None:
        wait = max(backoff_delay(message.row["attempts"], self.random), asked or timedelta())
        _log.warning("push.again", notice=message.row["id"], reason=note)
        with self.engine.begin() as connection:
            outbox_rows.again(connection, message.row["id"], wait, note)


def words(message: _Message) -> dict[str, Any]:
    """Return what a browser's service worker is handed: `id` is the same when it comes again."""
    row, facts = message.row, message.person.facts
    filled = TEXTS[message.notice].filled(facts)
    about = facts.get("contentId") or facts.get("accountId") or facts.get("publicationId")
    created: datetime = from_db(row["created_at"])
    return {
        "id": row["id"],
        "kind": KINDS[message.notice].value,
        "title": filled.subject,
        "body": filled.brief,
        "url": facts.get("permalink") or facts["url"],
        # A later message of the same thing replaces the one that is still shown.
        "tag": f"{KINDS[message.notice].value}:{about}" if about else row["id"],
        "at": iso_z(created),
    }


def _wait_asked(fetched: Fetched) -> timedelta | None:
    """How long the service asks to be left alone (Retry-After in seconds), two hours at most."""
    asked = fetched.headers.get("retry-after", "")
    if not (asked.isascii() and asked.isdigit()):
        return None
    return min(timedelta(seconds=int(asked[:9])), _LONGEST_WAIT)
