"""Sends what webhooks wait for: signed, at least once, tried again for a day, then dead-lettered.

Any number of processes may: SKIP LOCKED divides the rows, a lease keeps each in one hand, and the number of
its attempt is the fence of what is written about it. A process that stops or dies loses nothing; the same
message, under the same `webhook-id`, may then come twice. By Standard Webhooks ("Webhook metadata",
"Signature scheme", "Deliverability and reliability"): 2xx is done, 410 disables, everything else is tried
again.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random, SystemRandom
from typing import Any, Final

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from standardwebhooks import Webhook as Signer

from minitik_dagster.clock import boottime, iso_z
from minitik_dagster.db.instance import is_ours
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import MinitikError
from minitik_dagster.logs import redact_text
from minitik_dagster.notifications import webhook_queries as queries
from minitik_dagster.outbound import Outbound, OutboundError
from minitik_dagster.settings import Settings

ANSWER_SECONDS: Final = 10.0
ANSWER_BYTES: Final = 500
# Of one process: healthy webhooks and failing ones have places of their own.
PLACES: Final = 32
PLACES_PER_WEBHOOK: Final = 2
_POLL: Final = timedelta(seconds=1)
# Younger than the lease by more than an attempt takes.
_STALE: Final = timedelta(seconds=30)
_FIRST_WAIT: Final = timedelta(seconds=5)
_LONGEST_WAIT: Final = timedelta(hours=2)
_GONE: Final = 410
_GONE_REASON: Final = "it answered 410 Gone"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What one attempt came to; `error` None is a success."""

    status: int | None
    milliseconds: int
    answer: str | None
    error: str | None


def body_of(kind: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """Return a message's body, byte for byte the same at each attempt."""
    message = {"type": kind, "timestamp": iso_z(at), "data": data}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def headers_of(message_id: str, now: datetime, body: bytes, secret: str) -> dict[str, str]:
    """Return the headers of Standard Webhooks; `now` is the attempt's instant."""
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Signer(secret).sign(message_id, now, body.decode()),
    }


def wait_after(attempt: int, random: Random) -> timedelta:
    """Return the wait after the attempt of this number: 5 s, 20 s, 80 s … 2 h, times 0.8 to 1.2."""
    base = min(_FIRST_WAIT * (1 << 2 * min(attempt - 1, 8)), _LONGEST_WAIT)
    return base * (0.8 + 0.4 * random.random())


@dataclass
class DeliverySender:
    """One process's share in sending. `unseal` opens what the vault sealed."""

    engine: AsyncEngine
    settings: Settings
    unseal: Callable[[str], str]
    places: int = PLACES
    seconds: float = ANSWER_SECONDS
    poll: timedelta = _POLL
    random: Random = field(default_factory=SystemRandom)
    _under_way: dict[asyncio.Task[None], bool] = field(default_factory=dict)

    async def run(self, ending: asyncio.Event) -> None:
        """Send what falls due until `ending` is set; then let go of what is under way.

        A database that is away is waited for.
        """
        down = False
        try:
            while not ending.is_set():
                try:
                    claimed = await self.work()
                    down = False
                except DBAPIError as error:
                    claimed = 0
                    if not down:
                        _log.warning("webhooks.database_down", reason=type(error.orig).__name__)
                    down = True
                if not claimed:
                    await self._pause(ending)
        finally:
            await self._let_go()

    async def work(self) -> int:
        """Begin what is due and has a place; return how many were claimed: none of another deployment's."""
        claimed = 0
        for failing in (False, True):
            busy = sum(lane == failing for lane in self._under_way.values())
            if busy >= self.places:
                continue
            values = {
                "failing": failing,
                "each": 1 if failing else PLACES_PER_WEBHOOK,
                "limit": self.places - busy,
            }
            began = boottime()
            async with self.engine.begin() as connection:
                if not await connection.run_sync(is_ours, self.settings):
                    return claimed
                result = await connection.execute(text(queries.CLAIM), values)
                rows = [dict(row) for row in result.mappings()]
            for row in rows:
                task = asyncio.create_task(self._deliver(row, began))
                self._under_way[task] = failing
                task.add_done_callback(self._under_way.pop)
            claimed += len(rows)
        return claimed

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait(list(self._under_way))

    async def _pause(self, ending: asyncio.Event) -> None:
        """Until the next look: soon, or when a place becomes free or the end comes."""
        asked = asyncio.create_task(ending.wait())
        try:
            await asyncio.wait(
                [asked, *self._under_way],
                timeout=self.poll.total_seconds(),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            asked.cancel()

    async def _let_go(self) -> None:
        tasks = list(self._under_way)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _deliver(self, row: Mapping[str, Any], began: float) -> None:
        values = {"id": row["id"], "attempt": row["attempt"]}
        try:
            if boottime() - began > _STALE.total_seconds():
                return  # this process stood still: the lease may be somebody else's by now
            outcome = await self._attempt(row)
            await self._record(row, outcome)
        except asyncio.CancelledError:
            with contextlib.suppress(DBAPIError):
                await self._write(queries.GIVE_BACK, **values)
        except DBAPIError as error:
            # The lease runs out, and it is sent again under the same id.
            _log.warning("webhook.unwritten", delivery=row["id"], reason=type(error.orig).__name__)
        except Exception:
            # A defect of ours ends neither the sending nor the other deliveries.
            _log.exception("webhook.defect", delivery=row["id"])

    async def _attempt(self, row: Mapping[str, Any]) -> Outcome:
        began = boottime()
        status, answer = None, None
        try:
            body = body_of(row["type"], from_db(row["at"]), row["data"])
            secret = self.unseal(row["secret"])
            fetched = await Outbound(loopback=row["world"] == "sandbox").fetch(
                row["url"],
                method="POST",
                headers=headers_of(row["id"], from_db(row["now"]), body, secret),
                content=body,
                max_bytes=ANSWER_BYTES,
                seconds=self.seconds,
                cut=True,
            )
            status, answer = fetched.status, shown(fetched.body)
            error = None if 200 <= status < 300 else f"it answered {status}"
        except OutboundError as refused:
            error = str(refused)
        except MinitikError as unfit:
            # Sealed with a key that is gone, for example: another try may come with the right one.
            _log.error("webhook.unfit", delivery=row["id"], error=type(unfit).__name__)
            error = "its secret cannot be opened"
        return Outcome(status, round((boottime() - began) * 1000), answer, error)

    async def _record(self, row: Mapping[str, Any], outcome: Outcome) -> None:
        values = {
            "id": row["id"],
            "attempt": row["attempt"],
            "status": outcome.status,
            "milliseconds": outcome.milliseconds,
            "answer": outcome.answer,
            "error": outcome.error,
        }
        if outcome.error is None:
            await self._write(queries.DELIVERED, **values)
            return
        gone = outcome.status == _GONE
        state = await self._write(
            queries.FAILED,
            final=gone,
            wait=wait_after(row["attempt"], self.random),
            **values,
        )
        if gone:
            about = {"webhook_id": row["webhook_id"], "reason": _GONE_REASON}
            if await self._write(queries.DISABLE, url=row["url"], **about):
                await self._write(queries.BURY, **about)
                _log.warning("webhook.disabled", webhook=row["webhook_id"], reason=_GONE_REASON)
        elif state == "dead":
            _log.error("webhook.dead", webhook=row["webhook_id"], delivery=row["id"])

    async def _write(self, sql: str, **values: Any) -> Any:
        async with self.engine.begin() as connection:
            result = await connection.execute(text(sql), values)
            return result.scalar_one_or_none() if result.returns_rows else None


def shown(answer: bytes) -> str | None:
    """Return the beginning of an answer as the log keeps it: visible, without secrets; None of nothing."""
    plain = "".join(
        mark if mark.isprintable() else " " for mark in answer.decode("utf-8", "replace")
    )
    return redact_text(plain).strip()[:ANSWER_BYTES] or None
