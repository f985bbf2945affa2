"""Accepted is not live: asks the platform, on a ladder from seconds to an hour, until it is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
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
from minitik_dagster.notifications.event_queries import TELL_PUBLISHED
from minitik_dagster.platforms.port import Finding, Handle, PlatformClient, Standing
from minitik_dagster.publishing.endings import Endings
from minitik_dagster.publishing.ledger import LedgerDesk
from minitik_dagster.publishing.live_checks import LiveChecks
from minitik_dagster.publishing.work import Claim

_log = structlog.get_logger(__name__)
# How long a live post's public id is asked for (TikTok's moderation can take hours).
_ID_WANTED_FOR = timedelta(hours=24)
_NO_TOKEN_WAIT = timedelta(minutes=10)


@dataclass(frozen=True)
class Confirmation:
    """Polls accepted publications until they are live, refused or in need of a person."""

    endings: Endings

    @property
    def checks(self) -> LiveChecks:
        """What looks at posts that are live."""
        return LiveChecks(self.endings)

    async def follow(
        self, claim: Claim, handle: Handle, desk: LedgerDesk, client: PlatformClient
    ) -> AuthExpiredError | None:
        """Poll until the publication is settled or the next poll is too far off to wait here.

        Returns the error when the token must be refreshed first; the caller does that and follows on.
        """
        polls = claim.confirm_polls
        live = claim.stage is Stage.LIVE
        if live and claim.platform_post_id is not None:
            return await self.checks.look(claim, claim.platform_post_id, client, desk)
        while True:
            wait = self.endings.policy.confirm_delay(polls)
            asked_at = self.endings.clock.now()
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
                claim = await self.became_live(claim, finding, polls, first=not live)
                live = True
                if finding.final:
                    return None
            elif finding.standing in {Standing.REJECTED, Standing.DEAD} and not live:
                await self.endings.fail(claim, refusal(finding))
                return None
            if await self._give_up(claim, live=live):
                return None
            if wait > self.endings.policy.wait_in_process:
                stage = Stage.LIVE if live else Stage.CONFIRMING
                at = self.endings.clock.now() + wait
                await self.endings.hand_back(
                    claim, stage, at, asked_at=asked_at, confirmPolls=polls
                )
                return None
            await self.endings.hints.wait(claim.publication_id, wait)

    async def without_token(self, claim: Claim, error: PlatformError) -> None:
        """End the claim of an accepted or live post whose platform cannot be asked for want of a token."""
        live = claim.stage is Stage.LIVE
        if live and claim.platform_post_id is not None:
            await self.checks.put_off(claim, error)
        elif not await self._give_up(claim, live=live):
            at = self.endings.clock.now() + _NO_TOKEN_WAIT
            await self.endings.hand_back(claim, claim.stage, at)

    async def became_live(
        self, claim: Claim, finding: Finding, polls: int, *, first: bool
    ) -> Claim:
        """Record that the platform says it is live, with the ids it tells; `first` sets its times.

        The lease is kept while an id is still awaited.
        """
        bound = await self.endings.bind(claim, finding, "confirm")
        now = self.endings.clock.now()
        next_at: datetime | None = now + self.endings.policy.confirm_delay(polls)
        if finding.final:
            known = bool(bound) or claim.platform_post_id is not None
            next_at = await self._first_check(claim, now, first=first) if known else None
        fields: dict[str, Any] = {
            "confirmPolls": polls,
            "nextAttemptAt": to_db(next_at) if next_at else None,
        }
        if first:
            accepted = claim.accepted_at or now
            fields |= {"verifiedAt": to_db(now), "publishedAt": to_db(accepted)}
            fields |= {"error": None, "errorCode": None, "errorFix": None}
        if bound:
            fields["platformPostId"] = bound[0]
        if finding.permalink:
            fields["permalink"] = finding.permalink
        told = [(TELL_PUBLISHED, {"id": claim.publication_id})] if first else []
        moved = await self.endings.store.move(
            claim, Stage.LIVE, release=finding.final, also=told, **fields
        )
        if first:
            self.endings.tally.counted(claim, "live")
            _log.info(
                "publication.live",
                publication=claim.publication_id,
                platform=claim.platform.value.lower(),
                post=bound[0] if bound else None,
            )
        return moved

    async def _first_check(self, claim: Claim, now: datetime, *, first: bool) -> datetime | None:
        if first:
            return self.checks.next_after(now, now)
        return await self.checks.next_for(claim)

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


def refusal(finding: Finding) -> PlatformError:
    """Return the reason of a post that was accepted first and refused afterwards."""
    if finding.error is not None and not isinstance(finding.error, HandleDeadError):
        return finding.error
    reason = finding.error.reason if finding.error else "the platform refused the post afterwards"
    return RejectedError(
        reason,
        code=finding.code or "rejected_after_acceptance",
        request_id=finding.request_id,
        fix="Read the platform's reason, correct the video or its texts, and schedule it again.",
    )
