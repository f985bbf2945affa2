"""Deleting on a platform: the budget asked first, the token renewed once when it is refused."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import AuthExpiredError, ThrottledError
from minitik_dagster.platforms.port import Handle, PlatformClient, Removal
from minitik_dagster.publishing.ledger import LedgerDesk
from minitik_dagster.publishing.store import Store
from minitik_dagster.publishing.work import Claim
from minitik_dagster.resilience.limiter import Limiter

# The platforms whose API deletes posts of our accounts (platform documentation, November 2026: TikTok
# has no such call, Instagram's is not for Instagram Login).
DELETES: Final = frozenset({Platform.YOUTUBE})
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Remover:
    """Takes posts and prepared handles away."""

    store: Store
    limiter: Limiter

    async def delete(
        self,
        claim: Claim,
        handle: Handle,
        post_id: str | None,
        desk: LedgerDesk,
        client: PlatformClient,
    ) -> Removal:
        """Delete the public post `post_id`, or what was prepared when it is None.

        Raises PlatformError's classes; ThrottledError also when our own budget is used up.
        """
        if client.platform in DELETES:
            wait = await self.limiter.reserve(client.platform, claim.account_id, "delete")
            if wait:
                error = ThrottledError("our budget of calls is used up for now", code="budget")
                error.retry_after = wait
                raise error
        return await self.renewing(
            claim, desk, client, lambda: client.delete(claim.post, handle, post_id, desk)
        )

    async def renewing(
        self,
        claim: Claim,
        desk: LedgerDesk,
        client: PlatformClient,
        ask: Callable[[], Awaitable[_Answer]],
    ) -> _Answer:
        """Ask; after a 401, a definite refusal, refresh the token outside the step and ask once more."""
        try:
            return await ask()
        except AuthExpiredError:
            await desk.renew(self.store.engine, client)
        return await ask()
