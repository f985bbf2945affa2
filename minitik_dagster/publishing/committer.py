"""The commit: opened in the ledger ahead of its instant, sent at it, recorded after it.

Many posts are due at one second (09:00 sharp is what people choose), so ledger rows are opened and
ended in groups, one transaction each, and the instant itself waits for no database (engine.md R9).
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.exc import DBAPIError

from minitik_dagster.accounts.tokens import open_token
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.clock import boottime
from minitik_dagster.db.types import from_db, to_db
from minitik_dagster.errors import (
    LeaseLostError,
    NotSentError,
    PlatformError,
    UnknownOutcomeError,
)
from minitik_dagster.ids import new_id
from minitik_dagster.platforms.port import Handle, MediaSource, PlatformClient, Receipt
from minitik_dagster.publishing import commit_queries
from minitik_dagster.publishing.breaker_watch import BreakerOpenError, BreakerWatch
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.grouping import Group
from minitik_dagster.publishing.pause_watch import PausedError, PauseWatch
from minitik_dagster.publishing.policy import EnginePolicy
from minitik_dagster.publishing.starting_line import Runner, StartingLine
from minitik_dagster.publishing.store import Store
from minitik_dagster.publishing.witness import Witness
from minitik_dagster.publishing.work import Claim, OpenCommit

_log = structlog.get_logger(__name__)
_RETRY_DATABASE_SECONDS = (0.1, 0.2, 0.5, 1.0)


@dataclass(frozen=True)
class _Opening:
    claim: Claim
    handle: Handle
    step_id: str
    policy_version: str


@dataclass(frozen=True)
class _Opened:
    """The ledger's answer: a commit is open, its account is busy, or the row has moved on."""

    commit: OpenCommit | None
    sealed_token: str | None = None
    token_expires_at: datetime | None = None
    busy: bool = False


@dataclass(frozen=True)
class _Accepted:
    claim: Claim
    commit: OpenCommit
    receipt: Receipt
    sent_at: datetime
    answered_at: datetime


@dataclass(frozen=True)
class Sent:
    """What became of one commit. `error` is None when the platform accepted it."""

    commit: OpenCommit
    sent_at: datetime | None
    answered_at: datetime
    receipt: Receipt | None = None
    error: PlatformError | None = None
    token_version: str = ""


@dataclass
class Gate:
    """platforms.port.SendGate: tests the send deadline right before the first byte (R4)."""

    clock: DatabaseClock
    deadline: float
    sent_at: datetime | None = field(default=None)

    def __call__(self) -> None:
        """Note the instant; NotSentError when the deadline (boot-time seconds) has passed."""
        if boottime() > self.deadline:
            raise NotSentError("the send deadline had passed before the first byte")
        self.sent_at = self.clock.now()


class Committer:
    """Opens, sends and records the commits of one dispatcher."""

    def __init__(
        self,
        store: Store,
        clock: DatabaseClock,
        policy: EnginePolicy,
        vault: Vault,
        watch: BreakerWatch,
        pauses: PauseWatch,
        witness: Witness,
    ) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy
        self._vault = vault
        self._watch = watch
        self._pauses = pauses
        self._witness = witness
        self._line = StartingLine(clock)
        self._sending: set[asyncio.Task[Sent]] = set()
        self._openings: Group[_Opening, _Opened] = Group(self._open_all)
        self._acceptances: Group[_Accepted, bool] = Group(self._accept_all)

    async def commit(
        self,
        claim: Claim,
        handle: Handle,
        media: MediaSource,
        client: PlatformClient,
        *,
        probe: bool = False,
    ) -> Sent:
        """Hold until the instant, send once, and record what the platform said.

        An unknown outcome leaves the step open for the reconciler. Raises LeaseLostError when the
        row was edited, moved, cancelled or taken over meanwhile, PausedError as soon as a pause
        covers it, and BreakerOpenError when the platform's breaker is open (but for the one
        `probe`): then nothing was sent by us. Once the step is being opened, cancelling the caller
        does not cancel the commit: `finish` waits.
        """
        await self._hold(claim)
        if self._watch.is_open(claim.platform) and not probe:
            raise BreakerOpenError(f"the breaker of {claim.platform.value} is open")
        task = asyncio.create_task(
            self._send(claim, handle, media, client), name=claim.publication_id
        )
        self._sending.add(task)
        task.add_done_callback(self._sent)
        return await asyncio.shield(task)

    def _sent(self, task: asyncio.Task[Sent]) -> None:
        self._sending.discard(task)
        if not task.cancelled():
            # Told to the caller; one that was cancelled meanwhile does not ask for it.
            task.exception()

    async def _hold(self, claim: Claim) -> None:
        """Wait until the commit is to be opened; a pause ends the wait."""
        while True:
            reason = self._pauses.reason(claim)
            if reason is not None:
                raise PausedError(reason)
            seconds = self._clock.until(claim.due_at - self._policy.commit_lead)
            if seconds <= 0:
                return
            await self._pauses.news(timedelta(seconds=seconds))

    @property
    def sending(self) -> set[str]:
        """The publications whose commit has begun and is not recorded yet: their leases stay ours."""
        return {task.get_name() for task in self._sending}

    async def finish(self, longest: timedelta) -> None:
        """Wait until every commit that has begun is recorded, at most `longest`."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=longest.total_seconds())

    async def _send(
        self, claim: Claim, handle: Handle, media: MediaSource, client: PlatformClient
    ) -> Sent:
        opened, deadline = await self._open(claim, handle, client.policy_version)
        commit = opened.commit
        assert commit is not None
        account = open_token(
            self._vault, claim.account_id, opened.sealed_token or "", opened.token_expires_at
        )
        gate = Gate(self._clock, deadline)
        await self._line.wait(
            claim.due_at + self._clock.error,
            Runner(claim.priority, claim.platform, claim.account_id),
        )
        try:
            receipt = await client.commit(claim.post, media, handle, account.access_token, gate)
        except PlatformError as error:
            answered_at = self._clock.now()
            await self.close(
                claim,
                commit,
                error.outcome,
                ended=not isinstance(error, UnknownOutcomeError),
                sent_at=gate.sent_at,
                error=error,
            )
            return Sent(
                commit, gate.sent_at, answered_at, error=error, token_version=account.version
            )
        answered_at = self._clock.now()
        sent_at = gate.sent_at or answered_at
        recorded = await self._acceptances.ask(
            _Accepted(claim, commit, receipt, sent_at, answered_at)
        )
        if not recorded:
            raise LeaseLostError(f"publication {claim.publication_id}: taken over after sending")
        return Sent(commit, sent_at, answered_at, receipt=receipt)

    async def close(
        self,
        claim: Claim,
        commit: OpenCommit,
        outcome: str,
        *,
        ended: bool,
        sent_at: datetime | None = None,
        error: PlatformError | None = None,
        detail: str | None = None,
    ) -> None:
        """End a commit step, or mark it unknown and leave it open; waits for the database."""
        await self._patiently(
            lambda: self._store.fenced(
                claim,
                commit_queries.CLOSE_COMMIT,
                step_id=commit.step_id,
                ended=ended,
                sent=to_db(sent_at) if sent_at else None,
                outcome=outcome,
                code=error.code if error else None,
                request_id=error.request_id if error else None,
                detail=detail or (_message_json(error) if error else None),
            )
        )

    async def _open(self, claim: Claim, handle: Handle, version: str) -> tuple[_Opened, float]:
        """Open the ledger row; return it with the send deadline in boot-time seconds."""
        pause = 0.05
        while True:
            asked_at = boottime()
            early = max(0.0, self._clock.until(claim.due_at))
            deadline = asked_at + early + self._policy.send_deadline.total_seconds()
            opened = await self._openings.ask(_Opening(claim, handle, new_id(), version))
            if opened.commit is not None:
                return opened, deadline
            if not opened.busy:
                raise LeaseLostError(
                    f"publication {claim.publication_id}: edited, moved, held or taken over"
                )
            # Another post of this Instagram account is being sent or settled: one after the other.
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 2.0)

    async def _open_all(self, items: list[_Opening]) -> list[_Opened]:
        parameters: dict[str, Any] = {
            "ids": [item.claim.publication_id for item in items],
            "tokens": [item.claim.lease_token for item in items],
            "step_ids": [item.step_id for item in items],
            "handle_ids": [item.handle.id for item in items],
            "versions": [item.policy_version for item in items],
            "owner": self._store.owner,
            "send_deadline": self._policy.send_deadline,
        }
        rows = await self._patiently(lambda: self._open_once(parameters))
        found = {row["step_id"]: row for row in rows}
        answers = []
        for item in items:
            row = found.get(item.step_id)
            if row is None:
                answers.append(_Opened(None))
            elif not row["opened"]:
                answers.append(_Opened(None, busy=True))
            else:
                commit = OpenCommit(
                    step_id=item.step_id,
                    handle_id=item.handle.id,
                    started_at=from_db(row["started_at"]),
                    send_by=from_db(row["send_by"]),
                    sent_at=None,
                )
                self._witness.saw(commit.step_id, commit.started_at)
                expires = row["token_expires_at"]
                answers.append(
                    _Opened(commit, row["access_token"], from_db(expires) if expires else None)
                )
        return answers

    async def _open_once(self, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """Run OPEN_COMMITS; when its COMMIT was lost on an earlier try, read what is there (R5)."""
        rows = [
            dict(row) for row in await self._store.rows(commit_queries.OPEN_COMMITS, **parameters)
        ]
        self._store.told = True
        missing = set(parameters["step_ids"]) - {row["step_id"] for row in rows}
        if missing:
            there = await self._store.rows(
                commit_queries.REREAD_COMMITS, step_ids=sorted(missing), owner=self._store.owner
            )
            rows += [{**row, "opened": True} for row in there]
        return rows

    async def _accept_all(self, items: list[_Accepted]) -> list[bool]:
        parameters = {
            "ids": [item.claim.publication_id for item in items],
            "tokens": [item.claim.lease_token for item in items],
            "step_ids": [item.commit.step_id for item in items],
            "sent": [to_db(item.sent_at) for item in items],
            "answered": [to_db(item.answered_at) for item in items],
            "codes": [item.receipt.code for item in items],
            "request_ids": [item.receipt.request_id for item in items],
            "post_ids": [next(iter(item.receipt.post_ids), None) for item in items],
            "permalinks": [item.receipt.permalink for item in items],
            "owner": self._store.owner,
        }
        recorded: set[str] = set()

        async def once() -> None:
            rows = await self._store.rows(commit_queries.ACCEPT_COMMITS, **parameters)
            recorded.update(row["id"] for row in rows)
            self._store.told = True
            missing = [
                item.commit.step_id for item in items if item.claim.publication_id not in recorded
            ]
            if missing:
                # A COMMIT whose answer was lost on an earlier try has recorded them already.
                done = await self._store.rows(commit_queries.ACCEPTED_ALREADY, step_ids=missing)
                recorded.update(row["id"] for row in done)

        await self._patiently(once)
        return [item.claim.publication_id in recorded for item in items]

    async def _patiently(self, run: Callable[[], Awaitable[Any]]) -> Any:
        """Repeat a statement that may be repeated until the database answers."""
        tries = 0
        while True:
            try:
                return await run()
            except DBAPIError as error:
                if tries == 0:
                    _log.warning("database.waiting", reason=type(error.orig).__name__)
                pause = _RETRY_DATABASE_SECONDS[min(tries, len(_RETRY_DATABASE_SECONDS) - 1)]
                tries += 1
                await asyncio.sleep(pause)


def _message_json(error: PlatformError) -> str:
    return json.dumps({"message": error.reason})


def lateness(sent_at: datetime, due_at: datetime) -> timedelta:
    """First byte of the commit minus the due instant (engine.md R10)."""
    return sent_at - due_at
