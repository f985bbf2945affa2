"""Accepted is not live: asks the platform, on a ladder from seconds to an hour, until it is."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import to_db
from minitik_dagster.errors import (
    AuthExpiredError,
    HandleDeadError,
    PlatformError,
    RejectedError,
    RevokedError,
    ThrottledError,
)
from minitik_dagster.platforms.port import Finding, Handle, PlatformClient, Standing
from minitik_dagster.publishing.endings import Endings
from minitik_dagster.publishing.ledger import LedgerDesk
from minitik_dagster.publishing.work import Claim

_log = structlog.get_logger(__name__)
# How long a live post's public id is asked for (TikTok's moderation can take hours).
_ID_WANTED_FOR = timedelta(hours=24)


@dataclass(frozen=True)
class Confirmation:
    """Polls accepted publications until they are live, refused or in need of a person."""

    endings: Endings

    async def follow(
        self, claim: Claim, handle: Handle, desk: LedgerDesk, client: PlatformClient
    ) -> AuthExpiredError | None:
        """Poll until the publication is settled or the next poll is too far off to wait here.

        Returns the error when the token must be refreshed first; the caller does that and follows on.
        """
        polls = claim.confirm_polls
        live = claim.stage is Stage.LIVE
        while True:
            wait = self.endings.policy.confirm_delay(polls)
            try:
                finding = await client.confirm(claim.post, handle, desk)
            except AuthExpiredError as error:
                return error
            except RevokedError:
                # It was accepted; that the account is gone now does not make it fail.
                finding = Finding(Standing.ACCEPTED)
            except ThrottledError as error:
                finding = Finding(Standing.ACCEPTED, code=error.code)
                wait = max(wait, error.retry_after or timedelta(seconds=10))
            except PlatformError as error:
                finding = Finding(Standing.ACCEPTED, code=error.code)
            polls += 1
            if finding.standing is Standing.LIVE:
                claim = await self._live(claim, finding, polls, first=not live)
                live = True
                if finding.final:
                    return None
            elif finding.standing in {Standing.REJECTED, Standing.DEAD} and not live:
                await self.endings.fail(claim, _refusal(finding))
                return None
            if await self._give_up(claim, live=live):
                return None
            if wait > self.endings.policy.wait_in_process:
                stage = Stage.LIVE if live else Stage.CONFIRMING
                at = self.endings.clock.now() + wait
                await self.endings.hand_back(claim, stage, at, confirmPolls=polls)
                return None
            await asyncio.sleep(wait.total_seconds())

    async def _live(self, claim: Claim, finding: Finding, polls: int, *, first: bool) -> Claim:
        bound = await self.endings.bind(claim, finding, "confirm")
        now = to_db(self.endings.clock.now())
        wait = self.endings.policy.confirm_delay(polls)
        fields: dict[str, Any] = {
            "confirmPolls": polls,
            "nextAttemptAt": None if finding.final else to_db(self.endings.clock.now() + wait),
        }
        if first:
            accepted = claim.accepted_at or self.endings.clock.now()
            fields |= {"verifiedAt": now, "publishedAt": to_db(accepted)}
        if bound:
            fields["platformPostId"] = bound[0]
        if finding.permalink:
            fields["permalink"] = finding.permalink
        moved = await self.endings.store.move(claim, Stage.LIVE, release=finding.final, **fields)
        if first:
            self.endings.tally.counted(claim, "live")
            _log.info(
                "publication.live",
                publication=claim.publication_id,
                platform=claim.platform.value.lower(),
                post=bound[0] if bound else None,
            )
        return moved

    async def _give_up(self, claim: Claim, *, live: bool) -> bool:
        """After a day: a live post goes without its id; an accepted one goes to review."""
        accepted = claim.accepted_at or claim.due_at
        if self.endings.clock.now() - accepted < _ID_WANTED_FOR:
            return False
        if live:
            await self.endings.store.move(claim, Stage.LIVE, release=True, nextAttemptAt=None)
        else:
            await self.endings.review(
                claim, None, "accepted a day ago, and the platform still does not show it live"
            )
        return True


def _refusal(finding: Finding) -> PlatformError:
    if finding.error is not None and not isinstance(finding.error, HandleDeadError):
        return finding.error
    reason = finding.error.reason if finding.error else "the platform refused the post afterwards"
    return RejectedError(
        reason,
        code=finding.code or "rejected_after_acceptance",
        request_id=finding.request_id,
        fix="Read the platform's reason, correct the video or its texts, and schedule it again.",
    )
