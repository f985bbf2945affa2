"""Can I publish now? Per platform, from what would hold a post up: who publishes, breaker, pause, budget.

Asked by `/readyz` and `minitik doctor`; asks PostgreSQL and Redis and no platform.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, text

from minitik_dagster.clock import iso_z
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import DependencyDownError
from minitik_dagster.publishing import health
from minitik_dagster.publishing.pauses import Pause, list_pauses
from minitik_dagster.publishing.queries import NOW
from minitik_dagster.resilience.breaker import BreakerState, read_states
from minitik_dagster.resilience.limit_use import LimitUse, read_use
from minitik_dagster.resilience.limits_table import budgets
from minitik_dagster.settings import Settings

# The resident dispatchers beat each ten seconds, the sensor looks each thirty.
BEATS_WITHIN: Final = timedelta(minutes=1)
LOOKS_WITHIN: Final = timedelta(minutes=2)
_COOLDOWN: Final = timedelta(minutes=5)
_PLATFORM_BUDGETS: Final = frozenset({"youtube.uploads", "youtube.units"})

_ALIVE: Final = text(
    f"""
    SELECT (SELECT count(*) FROM dispatchers WHERE "endedAt" IS NULL
            AND "heartbeatAt" >= {NOW} - CAST(:beats AS interval)) AS dispatchers,
        (SELECT {NOW} - "updatedAt" FROM settings WHERE key = 'alerts:sensor') AS sensor,
        (SELECT value #>> '{{}}' FROM settings WHERE key = 'world') AS world
    """  # noqa: S608 - a constant
)


class Answer(StrEnum):
    """YES; LATER: it is taken and goes out once the reason is gone; NO: nothing takes it."""

    YES = "yes"
    LATER = "later"
    NO = "no"


_ORDER: Final = (Answer.YES, Answer.LATER, Answer.NO)


@dataclass(frozen=True)
class Reason:
    """What is in the way. `wanted`: an operator's own wish, no fault."""

    code: str
    answer: Answer
    detail: str
    wanted: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether a post for the platform would go out now."""

    platform: Platform
    reasons: tuple[Reason, ...] = ()

    @property
    def answer(self) -> Answer:
        """The worst of the reasons; YES of none."""
        return max((one.answer for one in self.reasons), key=_ORDER.index, default=Answer.YES)

    @property
    def is_faulty(self) -> bool:
        """Whether anything but an operator's wish is in the way."""
        return any(not one.wanted for one in self.reasons)


@dataclass(frozen=True)
class Engine:
    """Who publishes: live dispatchers, and how long ago Dagster's sensor looked (None: it never did)."""

    dispatchers: int
    sensor_age: timedelta | None
    world: str | None
    untaken: int = 0

    @property
    def dagster_is_silent(self) -> bool:
        """Whether Dagster, which was there, does not look any more."""
        return self.sensor_age is not None and self.sensor_age > LOOKS_WITHIN

    @property
    def takes_posts(self) -> bool:
        """Whether a dispatcher lives, or Dagster starts one when something is due."""
        return self.dispatchers > 0 or (self.sensor_age is not None and not self.dagster_is_silent)


@dataclass(frozen=True)
class Outlook:
    """Everything that was asked."""

    engine: Engine
    verdicts: tuple[Verdict, ...] = field(default=())


def look(connection: Connection, settings: Settings, *, store_is_there: bool = True) -> Outlook:
    """Ask for every platform. `store_is_there`: whether the bucket answers, as the caller knows."""
    row = connection.execute(_ALIVE, {"beats": BEATS_WITHIN}).one()
    untaken = health.untaken(connection)
    engine = Engine(row.dispatchers, row.sensor, row.world, untaken.total)
    pauses = list_pauses(connection)
    breakers, used = _redis(settings)
    general = tuple(_general(engine, settings, store_is_there=store_is_there))
    return Outlook(
        engine,
        tuple(
            Verdict(
                platform,
                (*general, *_of(platform, pauses, breakers.get(platform.value.lower()), used)),
            )
            for platform in Platform
        ),
    )


def _general(engine: Engine, settings: Settings, *, store_is_there: bool) -> Iterator[Reason]:
    if engine.world is not None and engine.world != settings.platform_world:
        detail = (
            f"the database is stamped {engine.world}, the platform hosts are "
            f"{settings.platform_world}"
        )
        yield Reason("world", Answer.NO, detail)
    if not engine.takes_posts:
        yield Reason(
            "no_dispatcher",
            Answer.NO,
            "no dispatcher is alive and Dagster's sensor does not look: start minitik dispatcher",
        )
    elif engine.untaken:
        yield Reason(
            "untaken",
            Answer.LATER,
            f"{engine.untaken} posts have waited for a minute and none takes them",
        )
    if not store_is_there:
        yield Reason(
            "s3", Answer.LATER, "the bucket does not answer: only what is prepared goes out"
        )


def _of(
    platform: Platform,
    pauses: list[Pause],
    breaker: BreakerState | None,
    used: list[LimitUse],
) -> Iterator[Reason]:
    name = platform.value.lower()
    for pause in pauses:
        if pause.scope in {"all", f"platform:{name}"}:
            told = f"paused by {pause.actor}" + (f": {pause.reason}" if pause.reason else "")
            yield Reason("paused", Answer.LATER, told, wanted=True)
    if breaker is not None and breaker.state != "CLOSED":
        probe = (
            f", one post tries it at {iso_z(breaker.opened_at + _COOLDOWN)}"
            if breaker.opened_at
            else ""
        )
        yield Reason("breaker", Answer.LATER, f"its breaker is {breaker.state}{probe}")
    for use in used:
        if use.platform is platform and use.used is not None and use.used >= use.budget:
            yield Reason(
                "budget",
                Answer.LATER,
                f"{use.name}: {use.used} of {use.budget} are used until {iso_z(use.resets_at)}",
            )


def _redis(settings: Settings) -> tuple[Mapping[str, BreakerState], list[LimitUse]]:
    """Breakers and used budgets; none of either while Redis does not answer: then all is allowed."""
    if settings.redis_url is None:
        return {}, []
    url = settings.redis_url.get_secret_value()
    try:
        states = read_states(url)
    except DependencyDownError:
        return {}, []
    used = [use for use in read_use(url, budgets(settings), []) if use.name in _PLATFORM_BUDGETS]
    return {state.platform: state for state in states}, used
