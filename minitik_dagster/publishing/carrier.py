"""Carries one claimed publication as far as it can go: prepare, hold, commit, confirm.

Every way out leaves the rows in a state from which any dispatcher can go on; a crash at any line is
the same as a claim that ends there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from minitik_dagster.accounts.tokens import refresh_token
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.errors import (
    AuthExpiredError,
    HandleDeadError,
    NotSentError,
    PlatformError,
    RejectedError,
    RevokedError,
    ThrottledError,
    TransientError,
    UnknownOutcomeError,
)
from minitik_dagster.media.source import StoredMedia
from minitik_dagster.platforms.port import Handle, PlatformClient
from minitik_dagster.publishing import queries
from minitik_dagster.publishing.breaker_watch import BreakerOpenError, BreakerWatch
from minitik_dagster.publishing.committer import Committer, Sent, lateness
from minitik_dagster.publishing.confirmation import Confirmation
from minitik_dagster.publishing.endings import Endings
from minitik_dagster.publishing.ledger import LedgerDesk
from minitik_dagster.publishing.pause_watch import PausedError, PauseWatch
from minitik_dagster.publishing.preparation import MayBePublicError, Preparation
from minitik_dagster.publishing.reconciler import Reconciler
from minitik_dagster.publishing.work import Claim
from minitik_dagster.resilience.breaker import Breaker

_log = structlog.get_logger(__name__)
_REFRESHES = 2


@dataclass(frozen=True)
class Carrier:
    """One dispatcher's way of carrying publications; holds no state of its own."""

    endings: Endings
    committer: Committer
    reconciler: Reconciler
    confirmation: Confirmation
    vault: Vault
    preparation: Preparation
    breaker: Breaker
    watch: BreakerWatch
    pauses: PauseWatch
    client: Callable[[Platform], PlatformClient]
    media: Callable[[Claim], StoredMedia]
    old_worker_has: Callable[[str], Awaitable[bool]]

    async def carry(self, claim: Claim) -> None:
        """Take the publication to its end, or to where it is handed back.

        Raises LeaseLostError when another dispatcher or an edit took it, and DBAPIError when
        PostgreSQL does not answer: then the caller gives the lease back when it can.
        """
        client = self.client(claim.platform)
        desk = LedgerDesk(
            self.endings.store,
            claim,
            vault=self.vault,
            clock=self.endings.clock,
            policy_version=client.policy_version,
        )
        if claim.open_steps:
            await self.endings.store.rows(queries.CLOSE_LOST_STEPS, id=claim.publication_id)
        refreshes = 0
        while True:
            try:
                next_claim = await self._step(claim, desk, client)
            except AuthExpiredError as error:
                refreshes += 1
                if refreshes > _REFRESHES:
                    await self._without_token(claim, error)
                    return
                if not await self._refresh(claim, desk, client):
                    return
                continue
            if next_claim is None:
                return
            claim = next_claim

    async def _step(self, claim: Claim, desk: LedgerDesk, client: PlatformClient) -> Claim | None:
        if claim.open_commit is not None:
            return await self.reconciler.settle(claim, claim.open_commit, desk, client)
        if claim.stage in {Stage.CONFIRMING, Stage.LIVE}:
            handle = await self._committed_handle(claim, desk)
            expired = await self.confirmation.follow(claim, handle, desk, client)
            if expired is not None:
                raise expired
            return None
        return await self._to_commit(claim, desk, client)

    async def _to_commit(
        self, claim: Claim, desk: LedgerDesk, client: PlatformClient
    ) -> Claim | None:
        if not await self._may_go(claim):
            return None
        # Let through although the breaker was open at the last look: this post is the probe.
        probe = self.watch.is_open(claim.platform)
        media = self.media(claim)
        try:
            handle, claim = await self.preparation.prepare(claim, desk, client, media)
            hold = self.endings.policy.hold
            if self.endings.clock.until(claim.due_at) > hold.total_seconds() + 5:
                await self.endings.hand_back(claim, Stage.PREPARED, claim.due_at - hold)
                return None
            handle = await self._warm(claim, handle, desk, client)
        except (TransientError, ThrottledError, UnknownOutcomeError, HandleDeadError) as error:
            await self._note_health(claim, error)
            await self.endings.retry(claim, Stage.SCHEDULED, error)
            return None
        except RejectedError as error:
            media.forget()
            await self.endings.fail(claim, error)
            return None
        except RevokedError as error:
            await self.endings.withdraw_account(claim, error)
            return None
        except MayBePublicError as error:
            await self.endings.review(claim, None, str(error))
            return None
        if not await self._in_time(claim):
            return None
        try:
            sent = await self.committer.commit(claim, handle, media, client, probe=probe)
        except BreakerOpenError:
            await self.endings.park(claim)
            return None
        except PausedError as paused:
            await self.endings.put_down(claim, str(paused))
            return None
        return await self._after_commit(claim, sent, media, desk, client)

    async def _may_go(self, claim: Claim) -> bool:
        """Check what forbids this post for now or for good; end the claim if something does."""
        now = self.endings.clock.now()
        if (paused := self.pauses.reason(claim)) is not None:
            await self.endings.put_down(claim, paused)
        elif claim.content_deleted or claim.media_key is None:
            error = RejectedError(
                "the content was deleted", code="content_deleted", fix="Upload it again."
            )
            await self.endings.fail(claim, error)
        elif not await self._in_time(claim):
            return False
        elif claim.account_status is not AccountStatus.CONNECTED:
            await self.endings.hold(
                claim, f"the account is {claim.account_status.value}; reconnect it"
            )
        elif claim.bull_job_id and await self.old_worker_has(claim.bull_job_id):
            _log.warning(
                "publication.old_worker_has_it",
                publication=claim.publication_id,
                platform=claim.platform.value.lower(),
            )
            await self.endings.hand_back(claim, claim.stage, now + timedelta(seconds=60))
        elif not await self.breaker.allows(claim.platform):
            await self.endings.park(claim)
        else:
            return True
        return False

    async def _in_time(self, claim: Claim) -> bool:
        """Fail a post that is later than its maxLateness: no foolish hours."""
        if self.endings.clock.now() <= self.endings.latest(claim):
            return True
        late = RejectedError(
            f"due {claim.due_at:%Y-%m-%d %H:%M:%S} UTC, which is longer ago than maxLateness allows",
            code="too_late",
            fix="Schedule it again, or allow a larger maxLateness.",
        )
        await self.endings.fail(claim, late)
        return False

    async def _committed_handle(self, claim: Claim, desk: LedgerDesk) -> Handle:
        found = [item.handle for item in await desk.handles() if item.state == "used"]
        assert found, "an accepted publication has the handle it was committed with"
        if claim.platform_post_id is None:
            return found[-1]
        return found[-1].with_progress(post_ids=[claim.platform_post_id])

    async def _warm(
        self, claim: Claim, handle: Handle, desk: LedgerDesk, client: PlatformClient
    ) -> Handle:
        ahead = self.endings.policy.warm_ahead.total_seconds()
        left = self.endings.clock.until(claim.due_at) - ahead
        if left > 0:
            await asyncio.sleep(left)
        try:
            async with asyncio.timeout(ahead - 1):
                return await client.warm(claim.post, handle, desk)
        except HandleDeadError:
            await self.preparation.retire(claim, desk, client)
            raise
        except RejectedError:
            raise
        except (PlatformError, TimeoutError):
            # Best effort: a cold connection makes the post some milliseconds later, no more.
            return handle

    async def _after_commit(
        self,
        claim: Claim,
        sent: Sent,
        media: StoredMedia,
        desk: LedgerDesk,
        client: PlatformClient,
    ) -> Claim | None:
        error = sent.error
        if error is None:
            late = lateness(sent.sent_at or sent.answered_at, claim.due_at)
            self.endings.tally.sent(claim, late)
            _log.info(
                "publication.accepted",
                publication=claim.publication_id,
                platform=claim.platform.value.lower(),
                late_ms=round(late / timedelta(milliseconds=1), 1),
            )
            media.forget()
            await self.breaker.record_success(claim.platform)
            ids = sent.receipt.post_ids if sent.receipt else ()
            return replace(
                claim,
                stage=Stage.CONFIRMING,
                accepted_at=sent.answered_at,
                confirm_polls=0,
                platform_post_id=next(iter(ids), None),
            )
        await self._note_health(claim, error)
        claim = replace(claim, stage=Stage.COMMITTING, attempts=claim.attempts + 1)
        match error:
            case UnknownOutcomeError():
                return replace(claim, open_commit=sent.commit)
            case AuthExpiredError():
                # A documented refusal (R8): the step is closed; refresh outside it, open a new one.
                if not await self._refresh(claim, desk, client, version=sent.token_version):
                    return None
                return await self.endings.store.move(claim, Stage.PREPARED)
            case NotSentError():
                return await self.endings.store.move(claim, Stage.PREPARED)
            case RejectedError():
                media.forget()
                await self.endings.fail(claim, error)
            case RevokedError():
                await self.endings.withdraw_account(claim, error)
            case HandleDeadError():
                # The platform's own word: nothing on this handle can be published any more.
                await desk.retire_handle("dead")
                return await self.endings.store.move(claim, Stage.SCHEDULED)
            case _:
                await self.endings.retry(claim, Stage.PREPARED, error)
        return None

    async def _refresh(
        self,
        claim: Claim,
        desk: LedgerDesk,
        client: PlatformClient,
        *,
        version: str | None = None,
    ) -> bool:
        """Refresh the account's token once, outside any step; end the claim when that fails."""
        stale = version or (desk.last_token.version if desk.last_token else "")
        try:
            await refresh_token(
                self.endings.store.engine,
                self.vault,
                client,
                claim.account_id,
                stale_version=stale,
                min_interval=self.endings.policy.refresh_min,
            )
        except PlatformError as error:
            await self._without_token(claim, error)
            return False
        return True

    async def _without_token(self, claim: Claim, error: PlatformError) -> None:
        """End the claim when no token can be had: what may be public is asked about later."""
        if claim.open_commit is not None or claim.stage is Stage.UNKNOWN:
            at = self.endings.clock.now() + timedelta(minutes=10)
            await self.endings.hand_back(claim, Stage.UNKNOWN, at)
        elif claim.stage in {Stage.CONFIRMING, Stage.LIVE}:
            await self.confirmation.without_token(claim, error)
        elif isinstance(error, RevokedError):
            await self.endings.withdraw_account(claim, error)
        else:
            await self.endings.retry(claim, _resting(claim.stage), error)

    async def _note_health(self, claim: Claim, error: PlatformError) -> None:
        if error.unhealthy:
            await self.breaker.record_failure(claim.platform)


def _resting(stage: Stage) -> Stage:
    """Return the stage in which a publication waits after it was at `stage`."""
    if stage is Stage.PREPARING:
        return Stage.SCHEDULED
    if stage is Stage.COMMITTING:
        return Stage.PREPARED
    return stage
