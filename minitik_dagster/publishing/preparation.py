"""Preparation: everything but the last step, on a handle that may still be committed.

One handle at a time (engine.md R2): another is made only when no commit on the old one may have been
sent, or when the platform calls it terminal, or when its time limit has passed and it reads unpublished.
"""

from dataclasses import dataclass
from datetime import timedelta

from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import (
    HandleDeadError,
    MinitikError,
    RejectedError,
    ThrottledError,
)
from minitik_dagster.media.source import StoredMedia
from minitik_dagster.platforms.port import Handle, PlatformClient, Standing
from minitik_dagster.publishing import handle_queries
from minitik_dagster.publishing.endings import Endings
from minitik_dagster.publishing.ledger import LedgerDesk, StoredHandle
from minitik_dagster.publishing.slots import UploadSlots
from minitik_dagster.publishing.work import Claim
from minitik_dagster.resilience.breaker import Breaker
from minitik_dagster.resilience.limiter import Limiter
from minitik_dagster.resilience.limits_table import HANDLE_CALL

# An upload URL's hour is over for us five minutes late (engine.md R2).
URL_GRACE = timedelta(minutes=5)


class MayBePublicError(MinitikError):
    """An earlier handle of this post may have been published: a person decides (engine.md R2)."""


@dataclass(frozen=True)
class Preparation:
    """Prepares publications; `slots` bounds how many at once."""

    endings: Endings
    breaker: Breaker
    limiter: Limiter
    slots: UploadSlots

    async def prepare(
        self, claim: Claim, desk: LedgerDesk, client: PlatformClient, media: StoredMedia
    ) -> tuple[Handle, Claim]:
        """Return a handle that is ready to be committed, and the claim at `prepared`.

        Raises PlatformError's classes as the platform client does, HandleDeadError when the stored
        handle was retired and another may be made, and MayBePublicError.
        """
        stored = await self._usable_handle(claim, desk, client)
        if stored is None:
            await self._require_room_for_a_handle(claim)
            await self._reserve_calls(claim)
        if claim.stage is not Stage.PREPARED:
            claim = await self.endings.store.move(claim, Stage.PREPARING)
        try:
            async with self.slots.take(claim.platform, claim.account_id):
                handle = await client.prepare(claim.post, media, stored, desk)
        except HandleDeadError:
            await self.retire(claim, desk, client)
            raise
        self.slots.left(claim.publication_id)
        if stored is None or not stored.ready:
            await self.breaker.record_success(claim.platform)
        if claim.stage is not Stage.PREPARED:
            claim = await self.endings.store.move(claim, Stage.PREPARED, holdReason=None)
        return handle, claim

    async def retire(self, claim: Claim, desk: LedgerDesk, client: PlatformClient) -> None:
        """Mark the active handle dead, once nothing sent on it can publish any more."""
        for item in await self._active(desk):
            await self._require_unpublished(claim, item, desk, client)
        await desk.retire_handle("dead")

    async def _require_room_for_a_handle(self, claim: Claim) -> None:
        [row] = await self.endings.store.rows(handle_queries.HANDLE_MAKERS, id=claim.publication_id)
        pauses = self.endings.policy.handle_pauses
        beyond = row["made"] - self.endings.policy.handles_per_post[claim.platform]
        if beyond < 0:
            return
        if beyond >= len(pauses):
            raise RejectedError(
                f"preparing was begun {row['made']} times within a day without success",
                code="too_many_handles",
                fix="Look at the step history for the platform's words, then schedule it again.",
            )
        at = from_db(row["last"]) + pauses[beyond]
        if at > self.endings.clock.now():
            wait = ThrottledError(
                f"preparing was begun {row['made']} times without success; waiting before the next",
                code="handle_pause",
                fix="Look at the step history for the platform's words, and at PostgreSQL's log.",
            )
            wait.until = at
            raise wait

    async def _reserve_calls(self, claim: Claim) -> None:
        """Take what a new post costs from the platform's budget; never on the commit path (R9)."""
        call = HANDLE_CALL[claim.platform]
        wait = await self.limiter.reserve(claim.platform, claim.account_id, call)
        if wait:
            error = ThrottledError(
                f"our budget of {claim.platform.value} calls is used up; waiting for the next window",
                code="budget",
                fix="Spread the posts, or raise the budget: MINITIK_LIMITS.",
            )
            error.retry_after = wait
            raise error

    async def _usable_handle(
        self, claim: Claim, desk: LedgerDesk, client: PlatformClient
    ) -> Handle | None:
        """Return the active handle if it may still be committed (R2, R6); drop an unfit one."""
        for item in await self._active(desk):
            handle = item.handle
            expires_first = handle.expires_at is not None and handle.expires_at < claim.due_at
            if handle.revision == claim.revision and not (expires_first and self._gone(handle)):
                return handle
            await self._require_unpublished(claim, item, desk, client)
            # With it goes the note to take away what was prepared, where that needs a call.
            await desk.retire_handle("dropped")
        return None

    async def _active(self, desk: LedgerDesk) -> list[StoredHandle]:
        return [item for item in await desk.handles() if item.state == "active"]

    def _gone(self, handle: Handle) -> bool:
        now = self.endings.clock.now()
        return handle.expires_at is not None and handle.expires_at + URL_GRACE < now

    async def _require_unpublished(
        self, claim: Claim, item: StoredHandle, desk: LedgerDesk, client: PlatformClient
    ) -> None:
        """Let a handle go on which a commit may have been sent only by the platform's own word."""
        handle = item.handle
        if not item.maybe_sent:
            return
        finding = await client.find(claim.post, handle, desk)
        if finding.standing is Standing.DEAD:
            return
        if finding.standing is not Standing.NOT_PUBLISHED:
            raise MayBePublicError("an earlier handle of this post may have been published")
        if handle.expires_at is not None and not self._gone(handle):
            wait = ThrottledError(
                "an earlier handle may still publish; waiting until it has expired",
                code="handle_may_publish",
            )
            wait.until = handle.expires_at + URL_GRACE
            raise wait
