"""Carries one claimed publication as far as it can go: prepare, hold, commit, confirm.

Every way out leaves the rows in a state from which any dispatcher can go on; a crash at any line is
the same as a claim that ends there.
"""

import asyncio
import contextlib
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
    MinitikError,
    NotSentError,
    PlatformError,
    RejectedError,
    RevokedError,
    ThrottledError,
    TransientError,
    UnknownOutcomeError,
)
from minitik_dagster.media.source import StoredMedia
from minitik_dagster.platforms.port import Handle, PlatformClient, Standing
from minitik_dagster.publishing import queries
from minitik_dagster.publishing.committer import Committer, Sent, lateness
from minitik_dagster.publishing.confirmation import Confirmation
from minitik_dagster.publishing.endings import Endings
from minitik_dagster.publishing.ledger import LedgerDesk
from minitik_dagster.publishing.reconciler import Reconciler
from minitik_dagster.publishing.work import Claim
from minitik_dagster.resilience.breaker import Breaker

_log = structlog.get_logger(__name__)
_REFRESHES = 2
_URL_GRACE = timedelta(minutes=5)


class _MayBePublicError(MinitikError):
    """An earlier handle may have been published: a person decides (engine.md R2)."""


@dataclass(frozen=True)
class Carrier:
    """One dispatcher's way of carrying publications; holds no state of its own."""

    endings: Endings
    committer: Committer
    reconciler: Reconciler
    confirmation: Confirmation
    vault: Vault
    breaker: Breaker
    client: Callable[[Platform], PlatformClient]
    media: Callable[[Claim], StoredMedia]
    old_worker_has: Callable[[str], Awaitable[bool]]
    uploads: dict[Platform, asyncio.Semaphore]

    async def carry(self, claim: Claim) -> None:
        """Take the publication to its end, or to where it is handed back.

        Raises LeaseLostError when another dispatcher or an edit took it, and DatabaseDownError when
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
                    await self.endings.retry(claim, _resting(claim.stage), error)
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
            handle = await self._committed_handle(desk)
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
        media = self.media(claim)
        try:
            handle, claim = await self._prepare(claim, desk, client, media)
        except (TransientError, ThrottledError, UnknownOutcomeError) as error:
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
        except HandleDeadError as error:
            await desk.retire_handle("dead")
            await self.endings.retry(claim, Stage.SCHEDULED, error)
            return None
        except _MayBePublicError as error:
            await self.endings.review(claim, None, str(error))
            return None
        wait = self.endings.clock.until(claim.due_at)
        hold = self.endings.policy.hold
        if wait > hold.total_seconds() + 5:
            await self.endings.hand_back(claim, Stage.PREPARED, claim.due_at - hold)
            return None
        handle = await self._warm(claim, handle, desk, client)
        if not await self._in_time(claim):
            return None
        sent = await self.committer.commit(claim, handle, media, client)
        return await self._after_commit(claim, sent, media, desk, client)

    async def _may_go(self, claim: Claim) -> bool:
        """Check what forbids this post for now or for good; end the claim if something does."""
        now = self.endings.clock.now()
        if claim.content_deleted or claim.media_key is None:
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
            _log.warning("publication.old_worker_has_it", publication=claim.publication_id)
            await self.endings.hand_back(claim, claim.stage, now + timedelta(seconds=60))
        elif not await self.breaker.allows(claim.platform):
            await self.endings.hand_back(
                claim, _resting(claim.stage), now + timedelta(seconds=5), holdReason="breaker open"
            )
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

    async def _prepare(
        self, claim: Claim, desk: LedgerDesk, client: PlatformClient, media: StoredMedia
    ) -> tuple[Handle, Claim]:
        stored = await self._usable_handle(claim, desk, client)
        if stored is None:
            await self._require_room_for_a_handle(claim)
        if claim.stage is not Stage.PREPARED:
            claim = await self.endings.store.move(claim, Stage.PREPARING)
        async with self.uploads[claim.platform]:
            handle = await client.prepare(claim.post, media, stored, desk)
        await self.breaker.record_success(claim.platform)
        if claim.stage is not Stage.PREPARED:
            claim = await self.endings.store.move(claim, Stage.PREPARED, holdReason=None)
        return handle, claim

    async def _require_room_for_a_handle(self, claim: Claim) -> None:
        rows = await self.endings.store.rows(queries.HANDLE_MAKERS, id=claim.publication_id)
        most = self.endings.policy.handles_per_post[claim.platform]
        if rows[0]["made"] >= most:
            raise RejectedError(
                f"preparing was begun {most} times within a day without success",
                code="too_many_handles",
                fix="Look at the step history for the platform's words, then schedule it again.",
            )

    async def _usable_handle(
        self, claim: Claim, desk: LedgerDesk, client: PlatformClient
    ) -> Handle | None:
        """Return the active handle if it may still be committed (engine.md R2, R6).

        An unfit one is dropped, unless a commit on it may have been sent: then only the platform's
        own word, or its time limit, makes room for another (it is waited for, or a person decides).
        """
        for item in await desk.handles():
            if item.state != "active":
                continue
            handle, now = item.handle, self.endings.clock.now()
            expired = handle.expires_at is not None and handle.expires_at < claim.due_at
            gone = handle.expires_at is not None and handle.expires_at + _URL_GRACE < now
            if handle.revision == claim.revision and not (expired and gone):
                return handle
            if item.maybe_sent:
                await self._require_unpublished(claim, handle, desk, client, gone=gone)
            await desk.retire_handle("dropped")
            await self._discard(claim, handle, desk)
        return None

    async def _require_unpublished(
        self,
        claim: Claim,
        handle: Handle,
        desk: LedgerDesk,
        client: PlatformClient,
        *,
        gone: bool,
    ) -> None:
        finding = await client.find(claim.post, handle, desk)
        if finding.standing is Standing.DEAD:
            return
        if finding.standing is Standing.NOT_PUBLISHED and (gone or handle.expires_at is None):
            return
        if finding.standing is Standing.NOT_PUBLISHED and handle.expires_at is not None:
            wait = ThrottledError(
                "an earlier handle may still publish; waiting until it has expired",
                code="handle_may_publish",
            )
            wait.until = handle.expires_at + _URL_GRACE
            raise wait
        raise _MayBePublicError("an earlier handle of this post may have been published")

    async def _discard(self, claim: Claim, handle: Handle, desk: LedgerDesk) -> None:
        """Take away what was prepared, where the platform can; an orphan is private and dies."""
        with contextlib.suppress(PlatformError):
            await self.client(claim.platform).delete(claim.post, handle, None, desk)

    async def _committed_handle(self, desk: LedgerDesk) -> Handle:
        found = [item.handle for item in await desk.handles() if item.state == "used"]
        assert found, "an accepted publication has the handle it was committed with"
        return found[-1]

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
            return replace(
                claim, stage=Stage.CONFIRMING, accepted_at=sent.answered_at, confirm_polls=0
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
            )
        except RevokedError as error:
            if claim.stage in {Stage.CONFIRMING, Stage.LIVE, Stage.UNKNOWN}:
                at = self.endings.clock.now() + timedelta(minutes=10)
                await self.endings.hand_back(claim, claim.stage, at)
            else:
                await self.endings.withdraw_account(claim, error)
            return False
        except PlatformError as error:
            await self.endings.retry(claim, _resting(claim.stage), error)
            return False
        return True

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
