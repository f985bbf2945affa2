"""The figures in Prometheus' text format, made anew at each scrape: no process keeps a count.

Gauges, not counters: they are read from the rows, so any process answers alike, and a restart resets
nothing. Redis down leaves its families out and sets `minitik_redis_up` to 0.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from minitik_dagster.errors import DependencyDownError
from minitik_dagster.operations.figures import Figures
from minitik_dagster.operations.lateness import StepOfDay
from minitik_dagster.resilience.breaker import BreakerState, read_states
from minitik_dagster.resilience.limit_peaks import LimitPeak, read_peaks
from minitik_dagster.resilience.limits_table import budgets
from minitik_dagster.scheduling.counts import QueueMetrics
from minitik_dagster.settings import Settings

_BREAKER: Final = {"CLOSED": 0, "HALF_OPEN": 1, "OPEN": 2}
_QUANTILES: Final = (("0.5", "p50"), ("0.99", "p99"), ("1", "longest"))


@dataclass(frozen=True)
class RedisFigures:
    """What only Redis knows; None while it does not answer."""

    breakers: Sequence[BreakerState]
    limits: Sequence[LimitPeak]

    @classmethod
    def read(cls, settings: Settings) -> "RedisFigures | None":
        """Ask Redis, for two seconds at the most."""
        if settings.redis_url is None:
            return None
        url = settings.redis_url.get_secret_value()
        try:
            return cls(read_states(url), read_peaks(url, budgets(settings)))
        except DependencyDownError:
            return None


def _gauge(
    name: str, text: str, labels: Sequence[str], rows: Iterable[tuple[Sequence[str], float | None]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"minitik_{name}", text, labels=labels)
    for values, number in rows:
        if number is not None:
            family.add_metric(list(values), float(number))
    return family


class _Snapshot(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def render(
    metrics: QueueMetrics,
    figures: Figures,
    days: Sequence[StepOfDay],
    redis: RedisFigures | None,
) -> bytes:
    """Return one scrape's text."""
    registry = CollectorRegistry()
    families = [
        *_queues(metrics),
        *_posts(figures),
        *_days(days),
        *_others(figures),
        *_redis(redis),
    ]
    registry.register(_Snapshot(families))
    return generate_latest(registry)


def _queues(metrics: QueueMetrics) -> Iterable[Metric]:
    yield _gauge(
        "queue_jobs",
        "What stands in each queue, as GET /api/scheduling/stats counts it.",
        ("queue", "state"),
        (
            ((queue.name, state), count)
            for queue in metrics.queues
            for state, count in asdict(queue.counts).items()
        ),
    )
    yield _gauge(
        "queue_completed_last_minute",
        "Jobs that completed within the last minute.",
        ("queue",),
        (((q.name,), q.throughput.completed_last_minute) for q in metrics.queues),
    )
    yield _gauge(
        "queue_failed_last_minute",
        "Jobs that failed within the last minute.",
        ("queue",),
        (((q.name,), q.throughput.failed_last_minute) for q in metrics.queues),
    )
    yield _gauge(
        "queue_processing_seconds",
        "Average time of the last minute's jobs, from the commit's first byte to its answer.",
        ("queue",),
        (
            ((q.name,), q.throughput.avg_processing_time_ms / 1000)
            for q in metrics.queues
            if q.throughput.avg_processing_time_ms is not None
        ),
    )


def _posts(figures: Figures) -> Iterable[Metric]:
    yield _gauge(
        "lateness_seconds",
        "Seconds after the due instant of the last hour's posts, by platform and step.",
        ("platform", "step", "quantile"),
        (
            ((row["platform"], row["step"], quantile), row[column])
            for row in figures.lateness
            for quantile, column in _QUANTILES
        ),
    )
    yield _gauge(
        "posts_last_hour",
        "Posts of the last hour that reached a step.",
        ("platform", "step"),
        (((row["platform"], row["step"]), row["posts"]) for row in figures.lateness),
    )
    yield _gauge(
        "step_outcomes_last_hour",
        "Calls to the platforms that ended within the last hour, by the outcome's class.",
        ("platform", "outcome"),
        (((row["platform"], row["outcome"]), row["steps"]) for row in figures.outcomes),
    )
    yield _gauge(
        "failures_last_hour",
        "Posts that failed for good within the last hour, by their error code.",
        ("platform", "code"),
        (((row["platform"], row["code"]), row["posts"]) for row in figures.failures),
    )
    yield _gauge(
        "publications",
        "Publications that have not ended, by stage.",
        ("platform", "stage"),
        (((row["platform"], row["stage"]), row["posts"]) for row in figures.stages),
    )
    yield _gauge("unknown", "Commits whose outcome nobody knows yet.", (), [((), figures.unknown)])


def _days(days: Sequence[StepOfDay]) -> Iterable[Metric]:
    commits = [one for one in days if one.step == "committed"]
    yield _gauge(
        "day_lateness_seconds",
        "Seconds after the due instant of the posts of a UTC day, by platform and step.",
        ("day", "platform", "step", "quantile"),
        (
            ((one.day, one.platform, one.step, quantile), getattr(one, name))
            for one in days
            for quantile, name in _QUANTILES
        ),
    )
    yield _gauge(
        "day_posts",
        "Posts of a UTC day that reached a step; what was published at once is not among them.",
        ("day", "platform", "step"),
        (((one.day, one.platform, one.step), one.posts) for one in days),
    )
    yield _gauge(
        "day_missed_posts",
        "Posts of a UTC day that were due and wanted, and were not sent.",
        ("day", "platform"),
        (((one.day, one.platform), one.missed) for one in commits),
    )
    yield _gauge(
        "day_within_objective_ratio",
        "The share of a UTC day's posts sent within the objective, missed ones included.",
        ("day", "platform"),
        (((one.day, one.platform), one.share) for one in commits),
    )


def _others(figures: Figures) -> Iterable[Metric]:
    yield _gauge(
        "accounts",
        "Connected and other accounts.",
        ("platform", "status"),
        (((row["platform"], row["status"].lower()), row["accounts"]) for row in figures.tokens),
    )
    yield _gauge(
        "token_horizon_seconds",
        "Seconds until the first access token of a connected account ends; negative: it has.",
        ("platform",),
        (
            ((row["platform"],), row["horizon"])
            for row in figures.tokens
            if row["status"] == "CONNECTED"
        ),
    )
    yield _gauge(
        "uploads",
        "Upload sessions by status.",
        ("status",),
        (((row["status"],), row["sessions"]) for row in figures.uploads),
    )
    yield _gauge(
        "outbox_waiting",
        "Messages that have not left yet, by kind (webhooks and notices among them).",
        ("kind",),
        (((row["kind"],), row["waiting"]) for row in figures.outbox),
    )
    yield _gauge(
        "outbox_oldest_seconds",
        "Age of the oldest message that has not left yet.",
        ("kind",),
        (((row["kind"],), row["oldest"]) for row in figures.outbox),
    )
    yield _gauge(
        "alerts",
        "Open alerts: 1 for each.",
        ("key", "level"),
        (((row["key"], row["level"]), 1) for row in figures.alerts),
    )
    yield _gauge(
        "dispatchers",
        "Dispatchers that beat within the last minute.",
        ("kind",),
        (((row["kind"],), row["alive"]) for row in figures.dispatchers),
    )


def _redis(found: RedisFigures | None) -> Iterable[Metric]:
    yield _gauge("redis_up", "1 while Redis answers.", (), [((), found is not None)])
    if found is None:
        return
    yield _gauge(
        "breaker_state",
        "The platform's circuit breaker: 0 closed, 1 half open, 2 open.",
        ("platform",),
        (((item.platform,), _BREAKER.get(item.state)) for item in found.breakers),
    )
    yield _gauge(
        "breaker_failures",
        "Failures of the last minute that the breaker counts.",
        ("platform",),
        (((item.platform,), item.failures) for item in found.breakers),
    )
    yield _gauge(
        "limit_used",
        "Units of a call limit used in its present window, by the busiest account or by the app.",
        ("limit",),
        (((item.name,), item.used) for item in found.limits),
    )
    yield _gauge(
        "limit_budget",
        "Units of a call limit that we use at most in a window.",
        ("limit",),
        (((item.name,), item.budget) for item in found.limits),
    )
