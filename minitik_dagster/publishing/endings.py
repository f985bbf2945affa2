"""How a claim ends: handed back for later, held, failed, sent to review, or live.

Each ending is one transaction under the lease; the tally hears of it afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import structlog

from minitik_dagster.accounts.token_queries import WITHDRAW
from minitik_dagster.accounts.withdrawals import withdrawal
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import to_db
from minitik_dagster.errors import PlatformError, RevokedError, ThrottledError, TransientError
from minitik_dagster.ids import new_id
from minitik_dagster.notifications.event_queries import TELL_FAILED
from minitik_dagster.platforms.port import Finding
from minitik_dagster.publishing import commit_queries, queries
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.dead_letter_queries import DEAD_LETTER
from minitik_dagster.publishing.listener import Hints
from minitik_dagster.publishing.policy import EnginePolicy
from minitik_dagster.publishing.store import Store
from minitik_dagster.publishing.tally import Tally
from minitik_dagster.publishing.work import Claim, OpenCommit
from minitik_dagster.resilience.backoff import backoff_delay
from minitik_dagster.scheduling.discard_queries import DROP_HANDLES

_log = structlog.get_logger(__name__)


# How long a parked post sleeps when nobody sees its breaker close.
PARKED_FOR = timedelta(seconds=20)


@dataclass(frozen=True)
class Endings:
    """The ways out of a claim, shared by the carrier, the confirmation and the reconciler."""

    store: Store
    clock: DatabaseClock
    policy: EnginePolicy
    tally: Tally
    random: Random
    hints: Hints = field(default_factory=Hints)

    async def hand_back(
        self,
        claim: Claim,
        stage: Stage,
        at: datetime,
        *,
        asked_at: datetime | None = None,
        **fields: Any,
    ) -> None:
        """Release the lease; the publication is claimed again at `at`.

        Or at once, where the platform has sent an event of it since we asked (`asked_at`).
        """
        await self.store.move(
            claim, stage, release=True, asked_at=asked_at, nextAttemptAt=to_db(at), **fields
        )

    async def retry(self, claim: Claim, stage: Stage, error: PlatformError) -> None:
        """Hand back after a failure that may be repeated, with the wait that the error asks for.

        Throttling costs no attempt; other waits grow from 2 s with jitter. What cannot be repeated
        before `maxLateness` passes fails with this error as its reason.
        """
        attempts, wait = claim.attempts, timedelta(0)
        now = self.clock.now()
        if isinstance(error, ThrottledError):
            wait = error.retry_after or timedelta(seconds=30)
            at = max(error.until or now, now + wait)
        else:
            wait = backoff_delay(attempts, self.random)
            if isinstance(error, TransientError) and error.retry_after:
                wait = max(wait, error.retry_after)
            attempts += 1
            at = now + wait
        if at > self.latest(claim):
            await self.fail(claim, error)
            return
        _log.info(
            "publication.retry",
            publication=claim.publication_id,
            platform=claim.platform.value.lower(),
            outcome=error.outcome,
            code=error.code,
            seconds=round((at - now).total_seconds(), 1),
        )
        await self.hand_back(
            claim,
            stage,
            at,
            attempts=attempts,
            error=error.reason,
            errorCode=error.code or error.outcome,
            errorFix=self._fix(claim, error, at),
        )

    def _fix(self, claim: Claim, error: PlatformError, at: datetime) -> str | None:
        """Say to what is waited for until when it is: later than that it would be too late."""
        if not isinstance(error, ThrottledError) or at <= claim.due_at:
            return error.fix or None
        until = (
            f"it is asked again at {at:%H:%M} UTC, and fails at {self.latest(claim):%Y-%m-%d %H:%M}"
            " UTC (maxLateness): allow more, or move it"
        )
        return f"{error.fix}; {until}" if error.fix else until

    def latest(self, claim: Claim) -> datetime:
        """Return the instant after which this post is too late to go out."""
        return claim.due_at + (claim.max_lateness or self.policy.default_max_lateness)

    async def fail(self, claim: Claim, error: PlatformError) -> None:
        """End for good: FAILED, with a dead letter that has the reason, the fix and the story."""
        code = error.code or error.outcome
        letter = {
            "letter_id": new_id(),
            "id": claim.publication_id,
            "code": code,
            "reason": error.reason,
            "fix": error.fix,
        }
        await self.store.move(
            claim,
            Stage.FAILED,
            release=True,
            also=[
                (DEAD_LETTER, letter),
                (TELL_FAILED, {"id": claim.publication_id}),
                # What was prepared for it is taken away where that needs a call (a private video).
                (DROP_HANDLES, {"ids": [claim.publication_id]}),
            ],
            error=error.reason,
            errorCode=code,
            errorFix=error.fix or None,
            nextAttemptAt=None,
        )
        self.tally.failed(claim, code, error.reason)
        _log.warning(
            "publication.failed",
            publication=claim.publication_id,
            platform=claim.platform.value.lower(),
            code=code,
            reason=error.reason,
        )

    async def hold(self, claim: Claim, reason: str) -> None:
        """Hold a publication whose account cannot be used; reconnecting releases it."""
        await self.store.move(claim, Stage.HELD, release=True, holdReason=reason)
        self.tally.counted(claim, "held")
        _log.warning(
            "publication.held",
            publication=claim.publication_id,
            platform=claim.platform.value.lower(),
            reason=reason,
        )

    async def park(self, claim: Claim) -> None:
        """Park a post while its platform's breaker is open; its handle stays with it.

        Looked at again in a while by itself, and at once when a dispatcher sees the breaker close.
        """
        at = self.clock.now() + PARKED_FOR
        reason = f"the breaker of {claim.platform.value.lower()} is open"
        await self.hand_back(claim, Stage.PARKED, at, holdReason=reason)
        self.tally.counted(claim, "parked")

    async def put_down(self, claim: Claim, reason: str) -> None:
        """Lay a post down under a pause, with its handle; it is shelved as `paused` from there.

        Too late is judged only after the resume: a paused post waits, it does not fail.
        """
        await self.hand_back(claim, Stage.SCHEDULED, self.clock.now(), holdReason=reason)
        self.tally.counted(claim, "paused")

    async def withdraw_account(self, claim: Claim, error: RevokedError) -> None:
        """Mark the account EXPIRED or REVOKED, tell its owner, and hold the publication."""
        await self.store.rows(WITHDRAW, **withdrawal(claim.account_id, error))
        await self.hold(claim, error.reason)

    async def review(self, claim: Claim, commit: OpenCommit | None, reason: str) -> None:
        """Hand over to a person: no platform can answer. The open step ends as `unknown` (R5)."""
        also = []
        if commit is not None:
            also.append((commit_queries.CLOSE_AS_UNKNOWN, {"step_id": commit.step_id}))
        await self.store.move(
            claim,
            Stage.REVIEW,
            release=True,
            also=also,
            nextAttemptAt=None,
            error=reason,
            errorCode="needs_review",
        )
        self.tally.counted(claim, "review")
        _log.error(
            "publication.review",
            publication=claim.publication_id,
            platform=claim.platform.value.lower(),
            reason=reason,
        )

    async def bind(self, claim: Claim, finding: Finding, via: str) -> Sequence[str]:
        """Store a post's public ids at once, before any decoration; return those that are ours."""
        bound = []
        for post_id in finding.post_ids:
            rows = await self.store.rows(
                queries.BIND_POST,
                post_row_id=new_id(),
                id=claim.publication_id,
                account_id=claim.account_id,
                platform=claim.platform.value,
                post_id=post_id,
                permalink=finding.permalink,
                via=via,
            )
            if rows and rows[0]["owner"] == claim.publication_id:
                bound.append(post_id)
        return bound
