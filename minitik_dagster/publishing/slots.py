"""How many uploads run at once: over all, per platform, per account.

An account with many or slow files uses its own few slots and delays no other account; a platform that
hangs fills its own slots and delays no other platform.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from minitik_dagster.db.types import Platform

# Instagram fetches the file itself: preparing it is waiting, and costs us no bandwidth.
_INSTAGRAM_TIMES = 8


class UploadSlots:
    """Bounds preparation; the account's slot is waited for first, so that waiting blocks nobody else."""

    def __init__(self, *, total: int, per_platform: int, per_account: int) -> None:
        self._total = asyncio.Semaphore(total)
        self._platforms = {
            platform: asyncio.Semaphore(
                per_platform * (_INSTAGRAM_TIMES if platform is Platform.INSTAGRAM else 1)
            )
            for platform in Platform
        }
        self._accounts: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(per_account)
        )
        self._expected: dict[str, Platform] = {}

    def expect(self, publication_id: str, platform: Platform) -> None:
        """Count a post among those that are to be prepared, until it `left`."""
        self._expected[publication_id] = platform

    def left(self, publication_id: str) -> None:
        """It is prepared, or given back; said again it changes nothing."""
        self._expected.pop(publication_id, None)

    def full(self, most: int) -> list[Platform]:
        """Return the platforms of which `most` posts or more are waiting for a slot or holding one."""
        counts = Counter(self._expected.values())
        return [platform for platform in Platform if counts[platform] >= most]

    @asynccontextmanager
    async def take(self, platform: Platform, account_id: str) -> AsyncIterator[None]:
        """Hold a slot for the block."""
        async with self._accounts[account_id], self._platforms[platform]:
            if platform is Platform.INSTAGRAM:
                yield
                return
            async with self._total:
                yield
