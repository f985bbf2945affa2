"""Asks the platforms what became of a day's publications that are not settled, and repairs the rows.

Takes each publication's lease first, expired ones only (engine.md R7). Never publishes: what turns
out not to have happened goes back to where a dispatcher, or a person, decides. A second run finds
nothing to repair.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from random import SystemRandom
from typing import Any

import structlog

from minitik_dagster.accounts.admission import may_ask
from minitik_dagster.accounts.tokens import refresh_token
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import to_db
from minitik_dagster.errors import (
    AuthExpiredError,
    LeaseLostError,
    PlatformError,
)
from minitik_dagster.ids import new_id
from minitik_dagster.platforms.port import Finding, PlatformClient, Standing
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.publishing import day_queries
from minitik_dagster.publishing.admission import admit
from minitik_dagster.publishing.breaker_watch import BreakerWatch
from minitik_dagster.publishing.committer import Committer
from minitik_dagster.publishing.confirmation import Confirmation, refusal
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.day_report import DayReport, Difference
from minitik_dagster.publishing.endings import Endings
from minitik_dagster.publishing.ledger import LedgerDesk, StoredHandle
from minitik_dagster.publishing.pause_watch import PauseWatch
from minitik_dagster.publishing.policy import EnginePolicy
from minitik_dagster.publishing.reconciler import Reconciler
from minitik_dagster.publishing.store import Store
from minitik_dagster.publishing.tally import Tally
from minitik_dagster.publishing.witness import Witness
from minitik_dagster.publishing.work import Claim
from minitik_dagster.resilience.breaker import Breaker
from minitik_dagster.settings import Settings

_log = structlog.get_logger(__name__)
_AT_ONCE = 4
# Long enough for a few calls that each take their whole time-out; nobody else waits for these rows.
_LEASE = timedelta(seconds=120)


@dataclass(frozen=True)
class DayScope:
    """Which publications: those due within [start, stop), or these ids."""

    start: datetime | None = None
    stop: datetime | None = None
    ids: tuple[str, ...] | None = None

    @classmethod
    def day(cls, day: date) -> "DayScope":
        """Return the scope of one UTC day of `dueAt`."""
        return cls.days(day, day)

    @classmethod
    def days(cls, first: date, last: date) -> "DayScope":
        """Return the scope from one UTC day to another, both included."""
        start = datetime.combine(first, time(), UTC)
        stop = datetime.combine(last, time(), UTC) + timedelta(days=1)
        return cls(start=start, stop=stop)


async def reconcile(settings: Settings, scope: DayScope) -> DayReport:
    """Reconcile a scope; safe at any time, beside any number of dispatchers and of itself.

    Raises ConfigurationError where this process may not act on the database, SchemaVersionError when
    that is of another version or stamped for other platforms.
    """
    may_ask(settings)
    policy = replace(
        EnginePolicy.from_settings(settings, resident=True), wait_in_process=timedelta(0)
    )
    engine = make_async_engine(settings.require_database_url(), pool_size=_AT_ONCE + 1)
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    try:
        await admit(engine, settings, settings.minitik_instance or "default")
        async with contextlib.AsyncExitStack() as stack:
            clients = await stack.enter_async_context(PlatformClients(settings))
            breaker = await stack.enter_async_context(contextlib.aclosing(Breaker(redis_url)))
            store = Store(engine, new_id())
            clock = DatabaseClock(engine)
            await clock.sample()
            vault = Vault.from_settings(settings)
            endings = Endings(store, clock, policy, Tally(), SystemRandom())
            committer = Committer(
                store,
                clock,
                policy,
                vault,
                BreakerWatch(store, breaker),
                PauseWatch(store),
                Witness(),
            )
            work = DayReconciler(
                endings, Reconciler(endings, committer), Confirmation(endings), vault, clients
            )
            return await work.run(scope)
    finally:
        await engine.dispose()


@dataclass
class DayReconciler:
    """One run over a scope."""

    endings: Endings
    reconciler: Reconciler
    confirmation: Confirmation
    vault: Vault
    clients: PlatformClients
    report: DayReport = field(default_factory=DayReport)

    async def run(self, scope: DayScope) -> DayReport:
        """Ask about everything in the scope that is not settled; return what was found."""
        found = await self.endings.store.rows(
            day_queries.UNSETTLED,
            ids=list(scope.ids) if scope.ids is not None else None,
            start=to_db(scope.start) if scope.start else None,
            stop=to_db(scope.stop) if scope.stop else None,
        )
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(row: Mapping[str, Any]) -> str:
            async with slots:
                return await self._settle(row["id"])

        codes = await asyncio.gather(*(one(row) for row in found))
        await self._compare(found, codes)
        return self.report

    async def _compare(self, found: Sequence[Mapping[str, Any]], codes: Sequence[str]) -> None:
        rows = await self.endings.store.rows(
            day_queries.STANDING_NOW, ids=[row["id"] for row in found]
        )
        now = {row["id"]: row for row in rows}
        for row, code in zip(found, codes, strict=True):
            after = now[row["id"]]
            if _told(after) != _told(row):
                self.report.differences.append(
                    Difference(
                        row["id"], str(row["platform"]).lower(), _told(row), _told(after), code
                    )
                )
            if Stage(after["stage"]) not in {Stage.LIVE, Stage.FAILED, Stage.CANCELLED}:
                self.report.open[after["stage"]] += 1

    async def _settle(self, publication_id: str) -> str:
        """Judge one publication under its lease; return the platform's code."""
        store = self.endings.store
        rows = await store.rows(
            day_queries.CLAIM_ONE, id=publication_id, owner=store.owner, lease=_LEASE
        )
        if not rows:
            self.report.busy += 1
            return ""
        claim = Claim.from_row(rows[0])
        client = self.clients.client(claim.platform)
        desk = LedgerDesk(
            store,
            claim,
            vault=self.vault,
            clock=self.endings.clock,
            policy_version=client.policy_version,
        )
        self.report.asked += 1
        try:
            return await self._with_a_fresh_token(claim, desk, client)
        except LeaseLostError:
            return ""
        except PlatformError as error:
            self.report.unanswered += 1
            _log.info(
                "reconcile.unanswered",
                publication=publication_id,
                platform=claim.platform.value.lower(),
                code=error.code,
            )
            return error.code
        finally:
            await store.rows(
                day_queries.LET_GO, id=publication_id, owner=store.owner, token=claim.lease_token
            )

    async def _with_a_fresh_token(
        self, claim: Claim, desk: LedgerDesk, client: PlatformClient
    ) -> str:
        try:
            return await self._ask(claim, desk, client)
        except AuthExpiredError:
            stale = desk.last_token.version if desk.last_token else ""
            await refresh_token(
                self.endings.store.engine,
                self.vault,
                client,
                claim.account_id,
                stale_version=stale,
                min_interval=self.endings.policy.refresh_min,
            )
            return await self._ask(claim, desk, client)

    async def _ask(self, claim: Claim, desk: LedgerDesk, client: PlatformClient) -> str:
        if claim.open_commit is not None:
            settled = await self.reconciler.settle(claim, claim.open_commit, desk, client)
            if settled is None:
                return "asked"
            if settled.stage is not Stage.CONFIRMING:
                # It did not happen: a dispatcher goes on with it, or fails it as too late.
                await self.endings.hand_back(settled, settled.stage, self.endings.clock.now())
                return "not_published"
            claim = settled
        handles = await desk.handles()
        used = next((item for item in handles if item.state == "used"), None)
        if used is not None:
            return await self._confirm(claim, used, desk, client)
        for item in handles:
            if item.maybe_sent:
                finding = await client.find(claim.post, item.handle, desk)
                if finding.standing in {Standing.LIVE, Standing.ACCEPTED}:
                    return await self._adopt(claim, item, finding)
        return "nothing_public"

    async def _confirm(
        self, claim: Claim, item: StoredHandle, desk: LedgerDesk, client: PlatformClient
    ) -> str:
        """Ask about what was accepted: live with its id, refused afterwards, or not yet."""
        handle = item.handle
        if claim.platform_post_id is not None:
            handle = handle.with_progress(post_ids=[claim.platform_post_id])
        finding = await client.confirm(claim.post, handle, desk)
        first = claim.stage is not Stage.LIVE
        refused = finding.standing in {Standing.REJECTED, Standing.DEAD}
        if finding.standing is Standing.LIVE:
            if first or finding.post_ids:
                await self.confirmation.became_live(
                    claim, finding, claim.confirm_polls, first=first
                )
        elif refused and claim.stage in {Stage.CONFIRMING, Stage.REVIEW}:
            await self.endings.fail(claim, refusal(finding))
        return finding.code

    async def _adopt(self, claim: Claim, item: StoredHandle, finding: Finding) -> str:
        """A commit that had been given up did happen: repair the ledger, the handle and the row."""
        await self.endings.store.fenced(
            claim,
            day_queries.ADOPT_CLOSED_COMMIT,
            handle_id=item.handle.id,
            code=finding.code or finding.standing.value,
        )
        accepted = replace(claim, accepted_at=self.endings.clock.now())
        if finding.standing is Standing.LIVE:
            await self.confirmation.became_live(accepted, finding, claim.confirm_polls, first=True)
        else:
            await self.endings.hand_back(accepted, Stage.CONFIRMING, self.endings.clock.now())
        _log.warning(
            "reconcile.adopted",
            publication=claim.publication_id,
            platform=claim.platform.value.lower(),
            was=claim.stage.value,
        )
        return finding.code


def _told(row: Mapping[str, Any]) -> str:
    known = f", {row['platform_post_id']}" if row["platform_post_id"] else ""
    return f"{row['stage']}{known}"
