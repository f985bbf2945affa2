"""The calls of a rollback: each post that was taken is deleted where its platform's API can."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.exc import DBAPIError

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import to_db
from minitik_dagster.errors import (
    AuthExpiredError,
    LeaseLostError,
    PlatformError,
    RejectedError,
    RevokedError,
)
from minitik_dagster.platforms.port import Handle, PlatformClient, Removal
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.publishing import queries
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.ledger import LedgerDesk
from minitik_dagster.publishing.removal import DELETES, Remover
from minitik_dagster.publishing.store import Store
from minitik_dagster.publishing.work import Claim
from minitik_dagster.resilience.limiter import Limiter
from minitik_dagster.resilience.limits_table import budgets
from minitik_dagster.settings import Settings

_log = structlog.get_logger(__name__)
# A person waits for the answer; the lease outlasts the calls and is given back after them.
CALL_SECONDS: Final = 20.0
LEASE: Final = timedelta(seconds=30)
_AT_ONCE: Final = 4
_AGAIN: Final = "nothing is lost: ask for the rollback again in a while"


@dataclass(frozen=True)
class Taken:
    """A publication under the rollback's lease."""

    claim: Claim
    permalink: str | None
    rolled_back_at: datetime | None


@dataclass(frozen=True)
class Told:
    """What became of it: `deleted`; or a person's turn (`instruction`); or to be asked `again`."""

    deleted: bool = False
    again: bool = False
    instruction: str = ""


async def take_away(settings: Settings, owner: str, taken: Sequence[Taken]) -> dict[str, Told]:
    """Delete what can be deleted, within CALL_SECONDS; return each publication's outcome by id."""
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    engine = make_async_engine(settings.require_database_url(), pool_size=_AT_ONCE)
    store = Store(engine, owner)
    try:
        async with AsyncExitStack() as stack:
            clients = await stack.enter_async_context(PlatformClients(settings))
            limiter = await stack.enter_async_context(
                aclosing(Limiter(redis_url, budgets=budgets(settings)))
            )
            clock = DatabaseClock(engine)
            await clock.sample()
            vault = Vault.from_settings(settings)
            calls = _Calls(store, clock, vault, Remover(store, limiter))
            room = asyncio.Semaphore(_AT_ONCE)
            deadline = asyncio.get_running_loop().time() + CALL_SECONDS

            async def one(item: Taken) -> Told:
                async with room:
                    client = clients.client(item.claim.platform)
                    return await calls.attempt(item, client, deadline)

            found = await asyncio.gather(*(one(item) for item in taken))
        return {item.claim.publication_id: told for item, told in zip(taken, found, strict=True)}
    finally:
        try:
            await store.rows(queries.RELEASE_ALL, owner=owner)
        except DBAPIError as error:  # the lease ends by itself
            _log.warning("rollback.lease_left", reason=type(error.orig).__name__)
        await engine.dispose()


@dataclass(frozen=True)
class _Calls:
    store: Store
    clock: DatabaseClock
    vault: Vault
    remover: Remover

    async def attempt(self, item: Taken, client: PlatformClient, deadline: float) -> Told:
        """Take one post away and record it; what goes wrong is told, not raised."""
        claim = item.claim
        try:
            async with asyncio.timeout_at(deadline):
                removal = await self._remove(item, client)
            return await self._record(item, removal)
        except (RevokedError, RejectedError, AuthExpiredError) as error:
            removal = Removal(done=False, instruction=_by_hand(claim, item.permalink, error))
            return await self._record(item, removal)
        except TimeoutError:
            return Told(again=True, instruction=f"the platform did not answer in time; {_AGAIN}")
        except PlatformError as error:
            _log.info(
                "rollback.again",
                publication=claim.publication_id,
                platform=claim.platform.value.lower(),
                code=error.code,
            )
            return Told(again=True, instruction=f"{error.reason}; {_AGAIN}")
        except (LeaseLostError, DBAPIError):
            return Told(again=True, instruction=f"it changed meanwhile; {_AGAIN}")

    async def _remove(self, item: Taken, client: PlatformClient) -> Removal:
        claim = item.claim
        desk = LedgerDesk(
            self.store,
            claim,
            vault=self.vault,
            clock=self.clock,
            policy_version=client.policy_version,
        )
        if claim.open_steps:
            await self.store.rows(queries.CLOSE_LOST_STEPS, id=claim.publication_id)
        used = [one.handle for one in await desk.handles() if one.state == "used"]
        handle = used[-1] if used else Handle(id="", revision=claim.revision)
        post_id = claim.platform_post_id
        if post_id is None and client.platform in DELETES:
            post_id = handle.external_id
        if post_id is None:
            name = claim.platform.value
            text = (
                f"{name} has not told the post's id: open the account's profile and delete it there"
            )
            return Removal(done=False, instruction=text)
        return await self.remover.delete(claim, handle, post_id, desk, client)

    async def _record(self, item: Taken, removal: Removal) -> Told:
        claim = item.claim
        at = to_db(item.rolled_back_at or self.clock.now())
        if removal.done:
            await self.store.move(
                claim, Stage.REMOVED, release=True, rolledBackAt=at, nextAttemptAt=None
            )
        else:
            await self.store.move(claim, claim.stage, release=True, rolledBackAt=at)
        _log.info(
            "publication.rolled_back",
            publication=claim.publication_id,
            platform=claim.platform.value.lower(),
            deleted=removal.done,
        )
        return Told(deleted=removal.done, instruction="" if removal.done else removal.instruction)


def _by_hand(claim: Claim, permalink: str | None, error: PlatformError) -> str:
    where = permalink or "the account's profile"
    return f"{claim.platform.value}: {error.reason}; open {where} and delete it there"
