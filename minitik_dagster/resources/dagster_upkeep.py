"""Clearing Dagster's own storage by its own interfaces: old runs with their events, old ticks.

Dagster keeps runs and events for ever; ticks of sensors and schedules that still run are purged by the
daemon (dagster.yaml, `retention`), those of others are not.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter
from dagster._core.scheduler.instigation import InstigatorStatus

# How long a job's runs are kept, in days. A run's materializations go with it: those of
# reconciled_publications are a day's only record in the web UI, those of the windows its history.
KEPT_DAYS: Final[Mapping[str, int]] = MappingProxyType(
    {"reconcile_publications": 400, "publish_due_posts": 90}
)
KEPT_DAYS_OTHERS: Final = 30
TICKS_KEPT: Final = timedelta(days=30)
_AT_ONCE: Final = 200
_FINISHED: Final = (
    DagsterRunStatus.SUCCESS,
    DagsterRunStatus.FAILURE,
    DagsterRunStatus.CANCELED,
)


def clear_dagster(
    instance: DagsterInstance, *, most: int = 5_000, now: datetime | None = None
) -> Counter[str]:
    """Delete old finished runs, at most so many, and old ticks of what does not run any more."""
    now = now or datetime.now(UTC)
    cleared: Counter[str] = Counter()
    jobs = {*KEPT_DAYS, *_other_jobs(instance, now)}
    for job in sorted(jobs):
        before = now - timedelta(days=KEPT_DAYS.get(job, KEPT_DAYS_OTHERS))
        wanted = RunsFilter(job_name=job, statuses=list(_FINISHED), created_before=before)
        while cleared["Dagster runs with their events"] < most:
            runs = instance.get_runs(wanted, limit=_AT_ONCE)
            for run in runs:
                instance.delete_run(run.run_id)
            cleared["Dagster runs with their events"] += len(runs)
            if len(runs) < _AT_ONCE:
                break
    for state in instance.all_instigator_state():
        if state.status != InstigatorStatus.STOPPED:
            continue
        instance.purge_ticks(
            state.instigator_origin_id,
            state.selector_id,
            before=(now - TICKS_KEPT).timestamp(),
        )
        cleared["stopped sensors and schedules looked through"] += 1
    return cleared


def _other_jobs(instance: DagsterInstance, now: datetime) -> set[str]:
    """Return the jobs that have old runs: also of jobs that are not defined any more."""
    before = now - timedelta(days=KEPT_DAYS_OTHERS)
    old = instance.get_runs(
        RunsFilter(statuses=list(_FINISHED), created_before=before), limit=1_000, ascending=True
    )
    return {run.job_name for run in old}
