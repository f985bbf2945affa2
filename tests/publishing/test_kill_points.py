"""`kill -9` at every point of a post's way: each post ends public exactly once.

Real `minitik dispatcher` processes with a lease of 2 s. One point per platform runs with every test run,
the whole table in tier chaos: `pytest -m chaos tests/publishing`.
"""

import os
import signal
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from minitik_dagster.db.types import Platform
from minitik_dagster.local.process import ChildProcess
from tests.publishing.kill_harness import (
    COMMIT_OF,
    LARGE,
    SMALL,
    STATUS_OF,
    Ground,
    KillPoint,
    Seen,
)

TIKTOK, INSTAGRAM, YOUTUBE = Platform.TIKTOK, Platform.INSTAGRAM, Platform.YOUTUBE
LONG_MS = 6_000
pytestmark = pytest.mark.timeout(180)
on_each_platform = pytest.mark.parametrize(
    "platform", Platform, ids=lambda platform: platform.value.lower()
)


def asked(operation: str) -> Seen:
    """The platform has seen such a call."""
    return lambda sight: sight.calls.get(operation, 0) > 0


def held(operation: str, kind: str, delay_ms: int = LONG_MS) -> dict[str, object]:
    """A fault that holds one call: `delay-before` it is acted on, or `delay` its answer."""
    return {"operation": operation, "kind": kind, "delayMs": delay_ms}


def between_prepare_and_commit(platform: Platform) -> KillPoint:
    """Everything but the last call is done, and its ledger row is not opened."""
    return KillPoint(
        "prepared",
        platform,
        lambda sight: sight.stage == "prepared" and sight.due_in > 0.5,
        due_in=timedelta(seconds=6),
    )


def opened_and_not_sent(platform: Platform) -> KillPoint:
    """The ledger says `started`; nothing has left us."""
    return KillPoint(
        "commit opened, not sent",
        platform,
        lambda sight: (
            sight.open_commits == 1
            and 0 < sight.due_in < 2
            and COMMIT_OF[platform] not in sight.calls
        ),
        environment={"MINITIK_COMMIT_LEAD_SECONDS": "2"},
        due_in=timedelta(seconds=6),
    )


def commit_on_its_way(platform: Platform) -> KillPoint:
    """The platform has the head of the call that publishes, and has not acted on it."""
    commit = COMMIT_OF[platform]
    return KillPoint(
        "commit on its way",
        platform,
        lambda sight: asked(commit)(sight) and sight.public == 0,
        faults=[held(commit, "delay-before", 1_500)],
    )


def between_commit_and_record(platform: Platform) -> KillPoint:
    """The post is public, and nobody here knows."""
    return KillPoint(
        "public, not recorded",
        platform,
        lambda sight: sight.public == 1,
        faults=[held(COMMIT_OF[platform], "delay")],
    )


def while_confirming(platform: Platform) -> KillPoint:
    """The commit is recorded, and the platform does not say yet that the post is live."""
    return KillPoint(
        "confirming",
        platform,
        lambda sight: sight.stage == "confirming",
        faults=[held(COMMIT_OF[platform], "delay", 1_500)],
        turn=lambda sight: sight.public == 1,
        then=[{"operation": STATUS_OF[platform], "kind": "status", "status": 503, "count": 99}],
    )


def answer_lost(platform: Platform, operation: str, *, new_handle: bool) -> KillPoint:
    """A preparing call was acted on, and its answer is not recorded."""
    return KillPoint(
        f"{operation} done, not recorded",
        platform,
        asked(operation),
        faults=[held(operation, "delay")],
        new_handle=new_handle,
    )


def bytes_on_their_way(platform: Platform, operation: str) -> KillPoint:
    """The platform has the head of a preparing upload."""
    return KillPoint(
        f"{operation} on its way",
        platform,
        asked(operation),
        faults=[held(operation, "delay-before", 1_500)],
    )


CONTAINER_POLLED = KillPoint(
    "container polled",
    INSTAGRAM,
    asked("container_status"),
    faults=[{"operation": "container", "kind": "slow-processing", "delayMs": 5_000}],
)
# A commit by every platform's own rules, and what comes before and after it.
OF_ALL = [
    make(platform)
    for make in (
        between_prepare_and_commit,
        opened_and_not_sent,
        commit_on_its_way,
        between_commit_and_record,
        while_confirming,
    )
    for platform in Platform
]
OF_ONE = [
    answer_lost(TIKTOK, "init", new_handle=True),
    answer_lost(INSTAGRAM, "container", new_handle=True),
    CONTAINER_POLLED,
    answer_lost(YOUTUBE, "session", new_handle=True),
    bytes_on_their_way(YOUTUBE, "upload"),
    answer_lost(YOUTUBE, "upload", new_handle=False),
]
# A file below 10,485,760 bytes has one chunk, and that is the commit.
OF_SEVERAL_CHUNKS = [
    bytes_on_their_way(TIKTOK, "chunk"),
    answer_lost(TIKTOK, "chunk", new_handle=False),
]
TABLE = [(point, size) for size in (SMALL, LARGE) for point in (*OF_ALL, *OF_ONE)]
TABLE += [(point, LARGE) for point in OF_SEVERAL_CHUNKS]
# One of each platform, at three different points, is quick enough for every run.
QUICK = [
    (commit_on_its_way(TIKTOK), LARGE),
    (between_commit_and_record(INSTAGRAM), SMALL),
    (between_prepare_and_commit(YOUTUBE), SMALL),
]


def named(case: object) -> str:
    return str(case).replace(" ", "-") if isinstance(case, KillPoint) else f"{case}"


@pytest.mark.parametrize(("point", "size"), QUICK, ids=named)
def test_a_killed_dispatcher_costs_no_post_and_makes_no_second_one(
    point: KillPoint,
    size: int,
    ground: Ground,
) -> None:
    """Another dispatcher takes the lease over and ends what was begun, on the same handle."""
    ground.kill_at(point, size)


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.parametrize(("point", "size"), TABLE, ids=named)
def test_at_every_point_a_killed_dispatcher_costs_no_post_and_makes_no_second_one(
    point: KillPoint,
    size: int,
    ground: Ground,
) -> None:
    """The table of crashes, point by point, with a file of one chunk and one of two."""
    ground.kill_at(point, size)


@pytest.mark.slow
@pytest.mark.chaos
@on_each_platform
def test_a_dispatcher_killed_while_it_settles_another_ones_crash_leaves_one_post(
    platform: Platform,
    ground: Ground,
) -> None:
    """Killed with the commit unrecorded, killed again while the platform is asked: once public."""
    trial = ground.trial(platform, timedelta(seconds=5))
    trial.add_faults([{"operation": COMMIT_OF[platform], "kind": "drop-before"}])
    with ground.dispatcher("first") as first:
        trial.schedule()
        trial.wait_for(lambda sight: sight.open_commits == 1, "the open commit")
        first.kill()
    with ground.dispatcher("second") as second:
        trial.wait_for(lambda sight: sight.stage == "unknown", "the second one's asking")
        second.kill()
    with ground.dispatcher("third"):
        trial.assert_public_exactly_once()
        assert len(trial.handles()) == 1


@pytest.mark.slow
@pytest.mark.chaos
@on_each_platform
def test_two_dispatchers_that_live_on_after_a_third_was_killed_make_one_post(
    platform: Platform,
    ground: Ground,
) -> None:
    """Those that stand by take over by lease: one of them, not both."""
    trial = ground.trial(platform, timedelta(seconds=6))
    trial.add_faults([held(COMMIT_OF[platform], "delay")])
    with ground.dispatcher("first") as first:
        trial.schedule()
        trial.wait_for(lambda sight: sight.stage != "scheduled", "the first one's claim")
        with (
            ground.dispatcher("second"),
            ground.dispatcher("third"),
        ):
            trial.wait_for(lambda sight: sight.public == 1, "the post")
            first.kill()
            trial.assert_public_exactly_once()
            assert len(trial.handles()) == 1


@pytest.mark.slow
@pytest.mark.chaos
@on_each_platform
def test_a_dispatcher_that_wakes_after_a_take_over_sends_nothing(
    platform: Platform,
    ground: Ground,
) -> None:
    """R4: stopped with the commit opened, gone on when another has sent it; the deadline has passed."""
    point = opened_and_not_sent(platform)
    trial = ground.trial(platform, point.due_in)
    with ground.dispatcher("first", **point.environment) as first:
        trial.schedule()
        trial.wait_for(point.reached, "the open commit")
        first.send(signal.SIGSTOP)
        try:
            with ground.dispatcher("second", **point.environment):
                trial.assert_public_exactly_once()
                first.send(signal.SIGCONT)
                # By the ledger, or by its heartbeat where that looks first.
                words = ("lease.lost", "heartbeat.missed")
                trial.wait_for(
                    lambda _: any(word in first.words() for word in words), "the first one's waking"
                )
                trial.assert_public_exactly_once()
        finally:
            first.send(signal.SIGCONT)
    assert trial.look().calls[COMMIT_OF[platform]] == 1
    assert "publication.defect" not in first.words()


@pytest.mark.slow
@pytest.mark.chaos
@on_each_platform
def test_a_dispatcher_told_to_end_records_the_commit_that_is_on_its_way(
    platform: Platform,
    ground: Ground,
) -> None:
    """SIGTERM drains: the answer is waited for and written down, the lease given back."""
    trial = ground.trial(platform, timedelta(seconds=5))
    trial.add_faults([held(COMMIT_OF[platform], "delay", 1_500)])
    with ground.dispatcher("first"):
        trial.schedule()
        trial.wait_for(lambda sight: sight.public == 1, "the post")
    commits = [step["outcome"] for step in trial.steps() if step["can_publish"]]
    assert commits == ["ok"]
    (row,) = ground.bench.rows([trial.publication_id])
    assert row.lease_owner is None
    with ground.dispatcher("second"):
        trial.assert_public_exactly_once()
    assert trial.look().calls[COMMIT_OF[platform]] == 1


@pytest.mark.slow
@pytest.mark.chaos
@on_each_platform
def test_a_killed_dagster_run_is_ended_by_the_next_one(
    platform: Platform,
    ground: Ground,
) -> None:
    """The job `publish_due_posts` in runs of its own: the second ends what the killed one began."""
    environment = {
        **ground.environment,
        "DAGSTER_HOME": str(ground.folder),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "MINITIK_WINDOW_SECONDS": "120",
        "MINITIK_IDLE_SECONDS": "4",
    }
    (ground.folder / "dagster.yaml").touch()
    trial = ground.trial(platform, timedelta(seconds=20))
    trial.add_faults([held(COMMIT_OF[platform], "delay")])
    trial.schedule()
    first = dagster_run(environment, ground.folder / "first.log")
    first.start()
    try:
        trial.wait_for(lambda sight: sight.public == 1, "the post", seconds=60)
    finally:
        first.kill()
    ground.bench.sandbox.call("DELETE", "/_sandbox/faults")
    second = dagster_run(environment, ground.folder / "second.log")
    second.start()
    try:
        trial.assert_public_exactly_once()
        second.wait_until(lambda: "RUN_SUCCESS" in second.log.read_text(), timeout_seconds=60)
    finally:
        second.stop()
    assert len(trial.handles()) == 1


def dagster_run(environment: Mapping[str, str], log: Path) -> ChildProcess:
    """One run of the job, in a process of its own."""
    program = str(Path(sys.executable).with_name("dagster"))
    return ChildProcess(
        "dagster",
        [program, "job", "execute", "-m", "minitik_dagster.definitions", "-j", "publish_due_posts"],
        log=log,
        env={"PATH": os.environ["PATH"], **environment},
        grace_seconds=30,
    )
