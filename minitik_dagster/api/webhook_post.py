"""The API process sends webhooks itself, in a thread with a loop of its own."""

import asyncio
import threading

import structlog

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.api.state import ApiState
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.notifications.deliveries import DeliverySender

_log = structlog.get_logger(__name__)
# Each statement is short; an attempt holds none while it waits for its target.
_POOL_SIZE = 3
_AGAIN_SECONDS = 5.0


class WebhookPost:
    """Sends what webhooks wait for from the application's start to its end."""

    def __init__(self, state: ApiState) -> None:
        self._state = state
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin, unless no database is configured."""
        if self._state.settings.database_url is None:
            return
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End; what is under way is let go and is sent again by whoever comes next."""
        self._stopped.set()
        if self._loop is not None and self._ending is not None:
            self._loop.call_soon_threadsafe(self._ending.set)
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                asyncio.run(self._send())
            except Exception:
                # A defect of ours must not end the sending silently.
                _log.exception("webhooks.defect")
                self._stopped.wait(_AGAIN_SECONDS)

    async def _send(self) -> None:
        self._ending = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._stopped.is_set():
            return
        engine = make_async_engine(
            self._state.settings.require_database_url(), pool_size=_POOL_SIZE
        )
        try:
            await DeliverySender(engine, self._unseal).run(self._ending)
        finally:
            self._loop = None
            await engine.dispose()

    def _unseal(self, sealed: str) -> str:
        return Vault.from_settings(self._state.settings).open(sealed)
