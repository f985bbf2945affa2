"""The breaker against a model of the contract: any order of calls, any passing of time."""

import asyncio
from datetime import UTC, datetime

import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from minitik_dagster.db.types import Platform
from minitik_dagster.resilience.breaker import Breaker, breaker_keys, read_states
from tests.resilience.hand import PATIENT

# In the order of `breaker_keys`, in seconds.
LIFETIMES = {"state": 360, "failures": 60, "opened_at": 360, "probe": 30}
_STALL_SECONDS = 5


class Model:
    """The contract in plain Python: values with the second they die at."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[str | int, float]] = {}

    def get(self, name: str, now: float) -> str | int | None:
        value, dies = self.values.get(name, ("", 0.0))
        return value if dies > now else None

    def set(self, name: str, value: str | int, now: float) -> None:
        self.values[name] = (value, now + LIFETIMES[name])

    def allows(self, now: float) -> bool:
        if self.get("state", now) in {None, "CLOSED"}:
            return True
        if now - int(self.get("opened_at", now) or 0) < 300 or self.get("probe", now):
            return False
        self.set("probe", "taken", now)
        self.set("state", "HALF_OPEN", now)
        return True

    def fails(self, now: float) -> None:
        state, failures = self.get("state", now), int(self.get("failures", now) or 0) + 1
        if failures == 1:
            self.set("failures", 1, now)
        else:
            self.values["failures"] = (failures, self.values["failures"][1])
        if state == "HALF_OPEN" or (state != "OPEN" and failures >= 5):
            self.set("state", "OPEN", now)
            self.values["opened_at"] = (int(now), now + 360)
            self.values.pop("probe", None)

    def succeeds(self, now: float) -> None:
        if self.get("state", now) == "HALF_OPEN":
            self.values.clear()


class BreakerMachine(RuleBasedStateMachine):
    """Drives the real scripts in Redis; time passes by moving the clock and aging the keys."""

    url: str

    @initialize()
    def begin(self) -> None:
        self.client = redis.Redis.from_url(self.url, decode_responses=True)
        self.client.flushall()
        self.now = 1_800_000_000.0
        self.model = Model()
        self.loop = asyncio.new_event_loop()
        self.breaker = Breaker(self.url, now=lambda: self.now, patience_seconds=PATIENT)
        self.dies: dict[str, float] = {}

    @rule()
    def fail(self) -> None:
        self.loop.run_until_complete(self.breaker.record_failure(Platform.TIKTOK))
        self.model.fails(self.now)

    @rule()
    def succeed(self) -> None:
        self.loop.run_until_complete(self.breaker.record_success(Platform.TIKTOK))
        self.model.succeeds(self.now)

    @rule()
    def ask(self) -> None:
        answer = self.loop.run_until_complete(self.breaker.allows(Platform.TIKTOK))
        assert answer == self.model.allows(self.now)

    @rule(seconds=st.sampled_from([1, 29, 31, 59, 61, 200, 299, 301]))
    def wait(self, seconds: int) -> None:
        """Redis' own clock cannot be moved: what would have died by then is deleted instead."""
        self.now += seconds
        for name, key in zip(LIFETIMES, breaker_keys(Platform.TIKTOK), strict=True):
            if self.dies.get(name, self.now) <= self.now:
                self.client.delete(key)

    @rule()
    def operator_deletes(self) -> None:
        self.client.delete(*breaker_keys(Platform.TIKTOK)[:3])
        for name in ("state", "failures", "opened_at"):
            self.model.values.pop(name, None)

    @invariant()
    def reads_as_the_model(self) -> None:
        if not hasattr(self, "model"):
            return
        for (name, lifetime), key in zip(
            LIFETIMES.items(), breaker_keys(Platform.TIKTOK), strict=True
        ):
            # Written just now. It dies by the model's time only: however busy the machine is.
            left = int(str(self.client.ttl(key)))
            if left >= 0:
                assert lifetime - _STALL_SECONDS < left <= lifetime
                self.dies[name] = self.now + lifetime
                self.client.persist(key)
        shown = read_states(self.url)[0]
        assert shown.state == (self.model.get("state", self.now) or "CLOSED")
        assert shown.failures == (self.model.get("failures", self.now) or 0)
        opened = self.model.get("opened_at", self.now)
        assert shown.opened_at == (datetime.fromtimestamp(int(opened), UTC) if opened else None)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.breaker.aclose())
            self.loop.close()
            self.client.close()


def test_every_order_of_calls_and_waits_follows_the_contract(redis_url: str) -> None:
    """CLOSED, OPEN, HALF_OPEN and back, with the lifetimes of contracts.md."""
    machine = type("Machine", (BreakerMachine,), {"url": redis_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
