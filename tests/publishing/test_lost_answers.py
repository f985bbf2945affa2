"""Commits whose answer is lost, wrong or late: exactly one public post, whatever came back.

The dispatcher runs in this process; what misbehaves is the sandbox. A representative case per platform
runs with every test run, the others in tier slow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform
from minitik_dagster.local.workbench import Workbench
from tests.publishing.kill_harness import COMMIT_OF, LARGE, SMALL, STATUS_OF, Trial, is_settled
from tests.publishing.running import run_until

TIKTOK, INSTAGRAM, YOUTUBE = Platform.TIKTOK, Platform.INSTAGRAM, Platform.YOUTUBE
pytestmark = pytest.mark.timeout(180)
slow = pytest.mark.slow

# How each platform answers a step that may have published with an error that is no refusal.
NO_REFUSAL: Mapping[Platform, Sequence[Mapping[str, Any]]] = {
    TIKTOK: [{"status": 500}, {"status": 503}],
    INSTAGRAM: [
        {"status": 500, "code": "1"},
        {"status": 503, "code": "2"},
        {"status": 400, "code": "-1/2207001"},
        {"status": 400, "code": "24/2207008"},
    ],
    YOUTUBE: [{"status": 500}, {"status": 503, "code": "backendError"}],
}
# Steps that make or fill a handle; none of them can publish.
PREPARING = [
    (TIKTOK, "init"),
    (TIKTOK, "chunk"),
    (INSTAGRAM, "container"),
    (YOUTUBE, "session"),
    (YOUTUBE, "upload"),
]


@dataclass(frozen=True)
class Case:
    """One way in which a commit's answer is not what it should be.

    `commits` are the commit requests that the platform may see: 1 where it acted on the first. `late`
    is how long after the first one its effect comes.
    """

    name: str
    platform: Platform
    faults: Sequence[Mapping[str, Any]]
    commits: int
    late: timedelta = timedelta(0)
    limits: Mapping[str, Any] = field(default_factory=dict)
    size: int = SMALL

    def __str__(self) -> str:
        return f"{self.platform.value.lower()}:{self.name}:{self.size}".replace(" ", "-")


def of(platform: Platform, kind: str, **more: Any) -> dict[str, Any]:
    """Return a fault of the platform's commit."""
    return {"operation": COMMIT_OF[platform], "kind": kind, **more}


def dropped_before(platform: Platform, size: int = SMALL) -> Case:
    return Case("cut before it acted", platform, [of(platform, "drop-before")], 2, size=size)


def dropped_after(platform: Platform, size: int = SMALL) -> Case:
    return Case("cut after it acted", platform, [of(platform, "drop-after")], 1, size=size)


def error_after(platform: Platform, answer: Mapping[str, Any]) -> Case:
    name = f"{answer['status']} {answer.get('code', '')} after it acted"
    return Case(name, platform, [of(platform, "error-after", **answer)], 1)


def error_instead(platform: Platform, answer: Mapping[str, Any]) -> Case:
    name = f"{answer['status']} {answer.get('code', '')} and nothing done"
    return Case(name, platform, [of(platform, "status", **answer)], 2)


def effect_within_settle(platform: Platform, size: int = SMALL) -> Case:
    """Cut now, done 0.7 s later: before "not published" is believed (deadline 1 s, settle 1 or 0)."""
    late = timedelta(seconds=0.7)
    fault = of(platform, "late-effect", delayMs=700)
    return Case("done within the settle time", platform, [fault], 1, late, size=size)


def effect_after_settle(platform: Platform, size: int = SMALL) -> Case:
    """Cut now, done 5 s later: the call is repeated on the same handle, and the first comes second."""
    late = timedelta(seconds=5)
    fault = of(platform, "late-effect", delayMs=5_000)
    return Case("done after the settle time", platform, [fault], 2, late, size=size)


def status_lags(platform: Platform) -> Case:
    """Done, and for 0.8 s the status still reads as before."""
    stale = {"operation": STATUS_OF[platform], "kind": "stale-read", "delayMs": 800, "count": 99}
    # The reads of preparing and warming may lag too: they only wait longer.
    return Case("status lags", platform, [of(platform, "drop-after"), stale], 1)


def repeat_refused() -> Case:
    """Meta's other habit: media_publish of a published container answers 24/2207008."""
    return Case(
        "repeat refused",
        INSTAGRAM,
        [of(INSTAGRAM, "late-effect", delayMs=5_000)],
        2,
        timedelta(seconds=5),
        limits={"instagram": {"repeatPublish": "refused"}},
    )


REPRESENTATIVE = [
    dropped_after(TIKTOK, LARGE),
    error_after(INSTAGRAM, {"status": 400, "code": "24/2207008"}),
    effect_within_settle(YOUTUBE),
]
OTHERS = [
    *(make(platform) for make in (dropped_before, dropped_after) for platform in Platform),
    *(dropped_before(platform, LARGE) for platform in Platform),
    *(error_after(platform, one) for platform in Platform for one in NO_REFUSAL[platform]),
    *(error_instead(platform, one) for platform in Platform for one in NO_REFUSAL[platform]),
    *(effect_within_settle(platform, LARGE) for platform in Platform),
    *(effect_after_settle(platform, size) for platform in Platform for size in (SMALL, LARGE)),
    *(status_lags(platform) for platform in Platform),
    repeat_refused(),
]


def settled(rows: list[Publication]) -> bool:
    return all(is_settled(row) for row in rows)


def publish(trial: Trial, late: timedelta = timedelta(0), seconds: float = 60) -> None:
    """Run a dispatcher until the post is settled and `late` has passed since the first commit."""
    commit = COMMIT_OF[trial.platform]

    def over(rows: list[Publication]) -> bool:
        if not settled(rows):
            return False
        first = next((call["at"] for call in trial.calls() if call["operation"] == commit), 0)
        now = trial.bench.sandbox.call("GET", "/_sandbox/time")["now"]
        return bool(now >= first + late / timedelta(milliseconds=1) + 200)

    run_until(trial.bench, [trial.publication_id], over, seconds=seconds)


def commit_outcomes(trial: Trial) -> list[str]:
    return [step["outcome"] for step in trial.steps() if step["can_publish"]]


def check(case: Case, bench: Workbench) -> None:
    trial = Trial(bench, case.platform, case.size, timedelta(seconds=4))
    bench.sandbox.set_limits(**case.limits)
    trial.add_faults(case.faults)
    trial.schedule()
    publish(trial, case.late)
    trial.assert_public_exactly_once()
    seen = [call for call in trial.calls() if call["operation"] == COMMIT_OF[case.platform]]
    assert len(seen) == case.commits, seen
    outcomes = commit_outcomes(trial)
    assert outcomes == ["not_published"] * (case.commits - 1) + ["ok"], outcomes
    assert len(trial.handles()) == 1


@pytest.mark.parametrize("case", REPRESENTATIVE, ids=str)
def test_a_commit_without_its_answer_is_asked_about_and_makes_one_post(
    case: Case, workbench: Workbench
) -> None:
    """Unknown: the platform is asked; done counts as done, not done is repeated on the same handle."""
    check(case, workbench)


@slow
@pytest.mark.parametrize("case", OTHERS, ids=str)
def test_every_way_of_losing_a_commits_answer_makes_one_post(
    case: Case, workbench: Workbench
) -> None:
    """Cut, error, late effect, stale read; with a file of one chunk and one of two."""
    check(case, workbench)


@slow
@pytest.mark.parametrize("kind", ["drop-before", "drop-after", "error-after"])
@pytest.mark.parametrize(("platform", "operation"), PREPARING)
def test_a_lost_answer_of_a_step_that_cannot_publish_is_never_unknown(
    platform: Platform, operation: str, kind: str, workbench: Workbench
) -> None:
    """It is repeated and no more (R1): one commit, sent once, and no step of outcome unknown."""
    trial = Trial(workbench, platform, LARGE, timedelta(seconds=6))
    trial.add_faults([{"operation": operation, "kind": kind}])
    trial.schedule()
    publish(trial)
    trial.assert_public_exactly_once()
    assert commit_outcomes(trial) == ["ok"]
    assert "unknown" not in {step["outcome"] for step in trial.steps()}


@slow
@pytest.mark.parametrize("platform", [TIKTOK, YOUTUBE])
def test_a_token_that_dies_while_a_commit_is_unknown_is_refreshed_and_the_platform_asked_again(
    platform: Platform, workbench: Workbench
) -> None:
    """A 401 on the question is no answer to it: refresh, ask again, settle."""
    trial = Trial(workbench, platform, SMALL, timedelta(seconds=4))
    trial.add_faults([of(platform, "drop-before")])
    trial.schedule()
    spoiled = False

    def spoil() -> None:
        nonlocal spoiled
        if not spoiled and trial.look().calls.get(COMMIT_OF[platform]):
            sealed = Vault.from_settings(workbench.settings).seal("not a token any more")
            with workbench.engine.begin() as connection:
                connection.execute(
                    text('UPDATE accounts SET "accessToken" = :sealed WHERE id = :id'),
                    {"sealed": sealed, "id": trial.account_id},
                )
            spoiled = True

    run_until(workbench, [trial.publication_id], settled, seconds=60, meanwhile=spoil)
    assert spoiled
    trial.assert_public_exactly_once()
    assert commit_outcomes(trial) == ["not_published", "ok"]
    refreshed = [call for call in trial.calls() if call["operation"] == "token"]
    assert len(refreshed) == 1
