"""LISTEN on a channel: a hint that shortens a sleep, the dispatcher's by the one that scheduling notifies.

A notification that names a publication (inbound_events.py) also ends that one's own wait.
"""

import asyncio
import contextlib
from datetime import timedelta

import psycopg
import structlog

from minitik_dagster.db.engine import libpq_url

CHANNEL = "minitik_due"
_log = structlog.get_logger(__name__)
_RETRY_SECONDS = 5.0


class Hints:
    """Ends the waits of publications of which a platform has sent word."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Event] = {}

    async def wait(self, publication_id: str, longest: timedelta) -> None:
        """Return when `tell` is called for the publication, or after `longest`."""
        told = self._waiting[publication_id] = asyncio.Event()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(longest.total_seconds()):
                    await told.wait()
        finally:
            if self._waiting.get(publication_id) is told:
                del self._waiting[publication_id]

    def tell(self, publication_id: str) -> None:
        """End the publication's wait, if it is waited for here."""
        if (told := self._waiting.get(publication_id)) is not None:
            told.set()


class Listener:
    """Wakes who waits on NOTIFY; without a direct connection their poll alone does."""

    def __init__(
        self, direct_url: str | None, hints: Hints | None = None, *, channel: str = CHANNEL
    ) -> None:
        self._url = direct_url
        self._hints = hints or Hints()
        self._channel = channel
        self._event = asyncio.Event()
        self.notified = False
        """Something was scheduled, perhaps with a wake that lies in the past; whoever looks clears it."""

    def wake(self) -> None:
        """End a wait now."""
        self._event.set()

    async def wait(self, longest: timedelta) -> None:
        """Return at a notification, at `wake()`, or after `longest`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), longest.total_seconds())
        self._event.clear()

    async def run(self) -> None:
        """Listen until cancelled; a lost connection is made again every 5 s."""
        if self._url is None:
            return
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    libpq_url(self._url), autocommit=True, prepare_threshold=None
                ) as connection:
                    await connection.execute(f"LISTEN {self._channel}")
                    async for notification in connection.notifies():
                        self._hints.tell(notification.payload)
                        self.notified = True
                        self._event.set()
            except psycopg.Error as error:
                _log.info("listen.lost", reason=type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)
