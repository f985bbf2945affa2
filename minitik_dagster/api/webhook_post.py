"""The API process sends webhooks itself, in a loop of its own."""

import asyncio
from datetime import timedelta

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.api.background import Ending, Work
from minitik_dagster.api.state import ApiState
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.notifications.deliveries import DeliverySender

# Each statement is short; an attempt holds none while it waits for its target.
_POOL_SIZE = 3


class WebhookPost(Work):
    """Sends what webhooks wait for: one turn is as long as the process lives.

    At its end what is under way is let go, and is sent again by whoever comes next. The sender tells of a
    database that is away.
    """

    name, defect = "webhooks", "webhooks.defect"
    every = timedelta(seconds=5)

    def __init__(self, state: ApiState) -> None:
        self._state = state
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None

    def turn(self, ending: Ending) -> None:
        """Send until the end."""
        asyncio.run(self._send(ending))

    def hurry(self) -> None:
        """Let the loop come to its end."""
        if self._loop is not None and self._ending is not None:
            self._loop.call_soon_threadsafe(self._ending.set)

    async def _send(self, ending: Ending) -> None:
        self._ending = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if ending():
            return
        engine = make_async_engine(
            self._state.settings.require_database_url(), pool_size=_POOL_SIZE
        )
        try:
            await DeliverySender(engine, self._state.settings, self._unseal).run(self._ending)
        finally:
            self._loop = None
            await engine.dispose()

    def _unseal(self, sealed: str) -> str:
        return Vault.from_settings(self._state.settings).open(sealed)
