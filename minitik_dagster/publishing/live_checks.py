"""A post that is live is looked at again: after 5 minutes, an hour and a day.

A removal by the platform's moderators or by the creator is a fact of its own: the publication becomes
`removed`, its owner is told, and it is never posted again.
"""

import asyncio
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import (
    AuthExpiredError,
    PlatformError,
    RejectedError,
    RevokedError,
    ThrottledError,
)
from minitik_dagster.ids import new_id
from minitik_dagster.notifications.notices import PUBLICATION_REMOVED, QUEUE_NOTICE, notice
from minitik_dagster.platforms.port import Desk, Finding, PlatformClient, Standing
from minitik_dagster.publishing import live_queries
from minitik_dagster.publishing.endings import Endings
from minitik_dagster.publishing.work import Claim

_log = structlog.get_logger(__name__)
# Posts of one instant are not looked at in one instant: up to a tenth later each.
_SPREAD = 0.1
_SAME = timedelta(milliseconds=50)
_ASK_AGAIN = timedelta(minutes=10)
# A look that fails is repeated for so long after the last check's time, then let be.
_PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class LiveChecks:
    """Looks at live posts at the ages that the policy names."""

    endings: Endings

    def next_after(self, live_since: datetime, now: datetime) -> datetime | None:
        """Return when a post that is live since then is looked at next; None after the last time."""
        for age in self.endings.policy.live_checks:
            if live_since + age > now + _SAME:
                return live_since + age * (1 + self.endings.random.random() * _SPREAD)
        return None

    async def next_for(self, claim: Claim) -> datetime | None:
        """Return when this live post is looked at next."""
        return self.next_after(await self._live_since(claim), self.endings.clock.now())

    async def look(
        self, claim: Claim, post_id: str, client: PlatformClient, desk: Desk
    ) -> AuthExpiredError | None:
        """Look whether the post is still there, and end the claim.

        Returns the error when the token must be refreshed first; the caller does that and looks
        again. A removal is believed when it is seen twice, a while apart: lists lag.
        """
        try:
            finding = await client.look(claim.post, post_id, desk)
            if finding.standing is Standing.REMOVED:
                await asyncio.sleep(self.endings.policy.second_look.total_seconds())
                finding = await client.look(claim.post, post_id, desk)
        except AuthExpiredError as error:
            return error
        except PlatformError as error:
            finding = Finding(Standing.CANNOT_TELL, code=error.code, error=error)
        if finding.standing is Standing.REMOVED:
            await self._remove(claim, post_id, finding)
        elif finding.standing is Standing.CANNOT_TELL:
            await self.put_off(claim, finding.error)
        else:
            await self._release(claim, await self.next_for(claim), finding.permalink)
        return None

    async def put_off(self, claim: Claim, error: PlatformError | None) -> None:
        """End the claim without an answer: a passing fault is asked about again, others are not."""
        now = self.endings.clock.now()
        at = await self.next_for(claim)
        if error is not None and not isinstance(error, RejectedError | RevokedError):
            wait = _ASK_AGAIN
            if isinstance(error, ThrottledError):
                wait = max(wait, error.retry_after or wait, (error.until or now) - now)
            last = await self._live_since(claim) + self.endings.policy.live_checks[-1]
            soon = now + wait
            if soon < last + _PATIENCE:
                at = min(soon, at) if at is not None else soon
        await self._release(claim, at, None)

    async def _live_since(self, claim: Claim) -> datetime:
        rows = await self.endings.store.rows(live_queries.LIVE_SINCE, id=claim.publication_id)
        return from_db(rows[0]["since"])

    async def _release(self, claim: Claim, at: datetime | None, permalink: str | None) -> None:
        fields: dict[str, Any] = {"permalink": permalink} if permalink else {}
        if at is not None:
            await self.endings.hand_back(claim, Stage.LIVE, at, **fields)
        else:
            await self.endings.store.move(
                claim, Stage.LIVE, release=True, nextAttemptAt=None, **fields
            )

    async def _remove(self, claim: Claim, post_id: str, finding: Finding) -> None:
        facts = {
            "publicationId": claim.publication_id,
            "contentId": claim.content_id,
            "accountId": claim.account_id,
            "platform": claim.platform.value.lower(),
            "platformPostId": post_id,
            "platformCode": finding.code,
        }
        await self.endings.store.move(
            claim,
            Stage.REMOVED,
            release=True,
            also=[
                (
                    live_queries.REMOVAL_FACT,
                    {"row_id": new_id(), "id": claim.publication_id, "detail": json.dumps(facts)},
                ),
                (QUEUE_NOTICE, notice(PUBLICATION_REMOVED, **facts)),
            ],
            nextAttemptAt=None,
            error=f"{claim.platform.value.capitalize()} does not show the post any more",
            errorCode="removed",
            errorFix="Look at the account on the platform: it, or its creator, took the post away.",
        )
        self.endings.tally.counted(claim, "removed")
        _log.warning(
            "publication.removed",
            publication=claim.publication_id,
            platform=claim.platform.value.lower(),
            code=finding.code,
        )
