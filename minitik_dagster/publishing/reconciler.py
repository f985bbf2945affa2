"""What happened to a commit whose answer we do not have (engine.md R1-R3, R7).

Runs under the publication's lease, so nobody else judges or sends. It asks the platform by the stored
handle, repairs the rows, and never publishes: a post that did not happen goes back to `prepared`, and
the carrier commits the same handle again.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import to_db
from minitik_dagster.errors import AuthExpiredError, PlatformError, RejectedError
from minitik_dagster.platforms.port import Finding, Handle, PlatformClient, Standing
from minitik_dagster.publishing import commit_queries
from minitik_dagster.publishing.committer import Committer
from minitik_dagster.publishing.endings import Endings
from minitik_dagster.publishing.ledger import LedgerDesk
from minitik_dagster.publishing.work import Claim, OpenCommit

_log = structlog.get_logger(__name__)
_ASK_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True)
class Reconciler:
    """Settles open commits."""

    endings: Endings
    committer: Committer

    async def settle(
        self, claim: Claim, commit: OpenCommit, desk: LedgerDesk, client: PlatformClient
    ) -> Claim | None:
        """Ask the platform about an open commit; return the claim to go on with, or None if ended.

        Raises AuthExpiredError when the token must be refreshed before the platform can be asked.
        """
        if claim.stage is not Stage.UNKNOWN:
            claim = await self.endings.store.move(claim, Stage.UNKNOWN)
        handle = next(
            (item.handle for item in await desk.handles() if item.handle.id == commit.handle_id),
            None,
        )
        assert handle is not None, "a commit step always names its handle"
        while True:
            asked_at = self.endings.clock.now()
            try:
                finding = await client.find(claim.post, handle, desk)
            except AuthExpiredError as error:
                if self.endings.clock.now() - commit.send_by <= self.endings.policy.review_after:
                    raise
                finding = Finding(Standing.CANNOT_TELL, code=error.code, error=error)
            except PlatformError as error:
                finding = Finding(Standing.CANNOT_TELL, code=error.code, error=error)
            _log.info(
                "commit.asked",
                publication=claim.publication_id,
                platform=claim.platform.value.lower(),
                standing=finding.standing.value,
            )
            wait = self._wait(claim, commit, finding)
            if wait is None:
                return await self._decide(claim, commit, handle, finding, desk)
            if wait > self.endings.policy.wait_in_process:
                at = self.endings.clock.now() + wait
                await self.endings.hand_back(claim, Stage.UNKNOWN, at, asked_at=asked_at)
                return None
            await self.endings.hints.wait(claim.publication_id, wait)

    def _wait(self, claim: Claim, commit: OpenCommit, finding: Finding) -> timedelta | None:
        """Return how long to wait before asking again; None when the finding can be believed.

        "Not published" counts only a settle time after the last moment the call could have been
        sent (R3); what cannot be told is asked again, more and more rarely.
        """
        now = self.endings.clock.now()
        if finding.standing is Standing.NOT_PUBLISHED:
            settled = commit.send_by + self.endings.policy.settle[claim.platform]
            return max(settled - now, timedelta(milliseconds=100)) if now < settled else None
        if finding.standing is Standing.CANNOT_TELL:
            since = now - commit.send_by
            if since > self.endings.policy.review_after:
                return None
            return max(_ASK_AGAIN, min(since / 4, timedelta(minutes=30)))
        return None

    async def _decide(
        self, claim: Claim, commit: OpenCommit, handle: Handle, finding: Finding, desk: LedgerDesk
    ) -> Claim | None:
        store = self.endings.store
        if finding.standing in {Standing.LIVE, Standing.ACCEPTED}:
            bound = await self.endings.bind(claim, finding, "reconciler")
            rows = await store.rows(
                commit_queries.ADOPT_COMMIT,
                id=claim.publication_id,
                owner=store.owner,
                token=claim.lease_token,
                step_id=commit.step_id,
                code=finding.code or finding.standing.value,
                sent=to_db(commit.sent_at or max(commit.started_at, claim.due_at)),
                post_id=bound[0] if bound else None,
                permalink=finding.permalink,
            )
            assert rows, "the step was open and ours"
            self.endings.tally.counted(claim, "reconciled")
            return _settled(claim, Stage.CONFIRMING)
        if finding.standing is Standing.NOT_PUBLISHED:
            await self.committer.close(claim, commit, "not_published", ended=True)
            moved = await store.move(claim, Stage.PREPARED)
            return _settled(moved, Stage.PREPARED)
        if finding.standing is Standing.DEAD:
            await self.committer.close(claim, commit, "handle_dead", ended=True)
            await desk.retire_handle("dead")
            moved = await store.move(claim, Stage.SCHEDULED)
            return _settled(moved, Stage.SCHEDULED)
        if finding.standing is Standing.REJECTED:
            await self.committer.close(claim, commit, "rejected", ended=True)
            error = finding.error or RejectedError(
                "the platform refused the post", code=finding.code
            )
            await self.endings.fail(claim, error)
            return None
        await self.endings.review(
            claim, commit, "the platform could not say whether the post was published"
        )
        return None


def _settled(claim: Claim, stage: Stage) -> Claim:
    return replace(claim, stage=stage, open_commit=None)
