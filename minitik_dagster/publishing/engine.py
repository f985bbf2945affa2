"""Puts a dispatcher together from settings and runs it, with or without Dagster."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from random import SystemRandom
from typing import Any, Self

import httpx2
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.contextvars import bound_contextvars

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_async_engine, parse_database_url
from minitik_dagster.errors import ConfigurationError
from minitik_dagster.ids import new_id
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.media.source import StoredMedia
from minitik_dagster.platforms.http import make_client
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.publishing.admission import admit
from minitik_dagster.publishing.breaker_watch import BreakerWatch
from minitik_dagster.publishing.carrier import Carrier
from minitik_dagster.publishing.committer import Committer
from minitik_dagster.publishing.confirmation import Confirmation
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.day_reconciler import DayScope, reconcile
from minitik_dagster.publishing.dispatcher import Dispatcher
from minitik_dagster.publishing.endings import Endings
from minitik_dagster.publishing.epochs import EpochKeeper
from minitik_dagster.publishing.leaving import Leaver
from minitik_dagster.publishing.listener import Listener
from minitik_dagster.publishing.outbox import Outbox
from minitik_dagster.publishing.pause_watch import PauseWatch
from minitik_dagster.publishing.policy import EnginePolicy
from minitik_dagster.publishing.preparation import Preparation
from minitik_dagster.publishing.reconciler import Reconciler
from minitik_dagster.publishing.removal import Remover
from minitik_dagster.publishing.slots import UploadSlots
from minitik_dagster.publishing.store import Store
from minitik_dagster.publishing.tally import Tally
from minitik_dagster.publishing.work import Claim
from minitik_dagster.resilience.breaker import Breaker
from minitik_dagster.resilience.limiter import Limiter
from minitik_dagster.resilience.limits_table import budgets
from minitik_dagster.resilience.old_queue import OldQueueGuard
from minitik_dagster.settings import Settings

_log = structlog.get_logger(__name__)
_IDLE_IN_TRANSACTION = timedelta(seconds=10)


@dataclass(frozen=True)
class _Lanes:
    """Two pools of connections: a thousand posts that prepare or confirm keep no commit waiting.

    `control`: claims, heartbeats, the clock, the commits' ledger. `work`: everything a single post does;
    there a statement may wait long for its turn.
    """

    control: AsyncEngine
    work: AsyncEngine

    @classmethod
    def of(cls, database_url: str, lease: timedelta) -> Self:
        # A dispatcher that is stopped within a transaction holds its posts' rows, whatever their lease.
        idle = max(lease, _IDLE_IN_TRANSACTION)
        return cls(
            make_async_engine(database_url, pool_size=4, idle_in_transaction=idle),
            make_async_engine(
                database_url, pool_size=8, pool_timeout=600, idle_in_transaction=idle
            ),
        )

    async def dispose(self) -> None:
        await self.control.dispose()
        await self.work.dispose()


async def dispatch(
    settings: Settings,
    *,
    kind: str,
    run_id: str | None = None,
    window: timedelta | None = None,
    on_start: Callable[[], None] | None = None,
) -> tuple[dict[str, Any], Tally]:
    """Run one dispatcher (`kind` dagster or resident) to its end; return its summary and tally.

    Raises ConfigurationError when this process may not dispatch, SchemaVersionError when the
    database is of another version or stamped for other platforms.
    """
    if settings.minitik_dispatch == "off":
        raise ConfigurationError(["MINITIK_DISPATCH is off: this deployment does not publish"])
    policy = EnginePolicy.from_settings(settings, resident=kind == "resident")
    if window is not None:
        policy = _with_window(policy, window)
    async with contextlib.AsyncExitStack() as stack:
        lanes = _Lanes.of(settings.require_database_url(), policy.lease)
        stack.push_async_callback(lanes.dispose)
        instance = settings.minitik_instance or "default"
        await admit(lanes.control, settings, instance)
        clients = await stack.enter_async_context(PlatformClients(settings))
        media_http = await stack.enter_async_context(
            make_client(connections=policy.uploads_total + 4)
        )
        redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
        breaker = await stack.enter_async_context(contextlib.aclosing(Breaker(redis_url)))
        limiter = await stack.enter_async_context(
            contextlib.aclosing(Limiter(redis_url, budgets=budgets(settings)))
        )
        objects = ObjectStore.from_settings(settings)
        # The first signature builds a client, a fifth of a second that no loop should wait.
        await asyncio.to_thread(objects.warm)
        owner = new_id()
        keeper = EpochKeeper(
            lanes.control,
            objects,
            lambda ids: reconcile(settings, DayScope(ids=tuple(ids))),
            owner=owner,
        )
        keeper.watch(lanes.control, lanes.work)
        await keeper.look()
        dispatcher = _assemble(
            settings,
            policy,
            lanes,
            clients,
            objects,
            media_http,
            breaker,
            limiter,
            kind,
            instance,
            keeper,
        )
        # Every line of this window names it, and its Dagster run.
        named = {"dispatcher": dispatcher.store.owner} | ({"run_id": run_id} if run_id else {})
        stack.enter_context(bound_contextvars(**named))
        dispatcher.run_id = run_id
        dispatcher.on_start = on_start
        with _draining_on_signals(dispatcher.drain):
            summary = await dispatcher.run()
        return summary, dispatcher.tally


def run_resident(settings: Settings, *, seconds: float | None = None) -> int:
    """Run the resident dispatcher until SIGINT or SIGTERM (or for `seconds`); return the exit code."""
    window = timedelta(seconds=seconds) if seconds is not None else None

    def started() -> None:
        print("dispatcher ready", flush=True)  # noqa: T201 - a supervisor waits for this line

    asyncio.run(dispatch(settings, kind="resident", window=window, on_start=started))
    return 0


def _with_window(policy: EnginePolicy, window: timedelta) -> EnginePolicy:
    return replace(policy, window=window)


def _assemble(
    settings: Settings,
    policy: EnginePolicy,
    lanes: _Lanes,
    clients: PlatformClients,
    objects: ObjectStore,
    media_http: httpx2.AsyncClient,
    breaker: Breaker,
    limiter: Limiter,
    kind: str,
    instance: str,
    keeper: EpochKeeper,
) -> Dispatcher:
    url = settings.require_database_url()
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    vault = Vault.from_settings(settings)
    control, work = Store(lanes.control, keeper.owner), Store(lanes.work, keeper.owner)
    clock = DatabaseClock(lanes.control)
    tally = Tally()
    endings = Endings(work, clock, policy, tally, SystemRandom())
    watch = BreakerWatch(control, breaker)
    pauses = PauseWatch(control)
    committer = Committer(control, clock, policy, vault, watch, pauses, keeper.witness)

    def media(claim: Claim) -> StoredMedia:
        assert claim.media_key is not None
        return StoredMedia(
            objects,
            key=claim.media_key,
            size=claim.media_size,
            mime_type=claim.mime_type,
            publication_id=claim.publication_id,
            revision=claim.revision,
            spool_dir=policy.spool,
            http=media_http,
        )

    carrier = Carrier(
        endings=endings,
        committer=committer,
        reconciler=Reconciler(endings, committer),
        confirmation=Confirmation(endings),
        vault=vault,
        preparation=Preparation(
            endings,
            breaker,
            limiter,
            UploadSlots(
                total=policy.uploads_total,
                per_platform=policy.uploads_at_once,
                per_account=policy.uploads_per_account,
            ),
        ),
        breaker=breaker,
        watch=watch,
        pauses=pauses,
        client=clients.client,
        media=media,
        old_worker_has=OldQueueGuard(redis_url).has,
    )
    direct = settings.direct_url.get_secret_value() if settings.direct_url else None
    if direct is None and not parse_database_url(url).pooled:
        direct = url
    return Dispatcher(
        store=control,
        clock=clock,
        policy=policy,
        carrier=carrier,
        tally=tally,
        listener=Listener(direct, endings.hints),
        outbox=Outbox(
            store=control,
            clock=clock,
            policy=policy,
            vault=vault,
            remover=Remover(work, limiter),
            client=clients.client,
            random=SystemRandom(),
            leaver=Leaver(
                store=control,
                engine=lanes.work,
                clock=clock,
                vault=vault,
                client=clients.client,
                random=SystemRandom(),
            ),
        ),
        keeper=keeper,
        kind=kind,
        instance=instance,
    )


@contextlib.contextmanager
def _draining_on_signals(drain: Callable[[], None]) -> Iterator[None]:
    """Drain on SIGINT and SIGTERM: Dagster's own handler would cancel calls in flight."""
    loop = asyncio.get_running_loop()
    taken = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # Outside the main thread (some executors) signals cannot be taken; the run's own end drains.
        with contextlib.suppress(ValueError, RuntimeError):
            loop.add_signal_handler(number, drain)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
