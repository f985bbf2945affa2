"""Reading an hour: batches, one bad account, quotas, what is missing, and two runs at once."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from minitik_dagster.analytics.cadence import HOUR
from minitik_dagster.analytics.reading import snapshots_of
from minitik_dagster.analytics.snapshots import SnapshotReport, Snapshots
from minitik_dagster.db.types import Platform
from minitik_dagster.settings import Settings
from tests.analytics.scene import PATIENT, AnalyticsScene, this_hour


def read(
    scene: AnalyticsScene,
    slot: datetime | None = None,
    change: Callable[[Snapshots], object] = lambda _: None,
    settings: Settings | None = None,
) -> SnapshotReport:
    """One run over an hour, this one unless told otherwise."""

    async def work() -> SnapshotReport:
        async with snapshots_of(settings or scene.settings) as snapshots:
            change(snapshots)
            return await snapshots.run(slot or this_hour())

    return asyncio.run(work())


def calls(scene: AnalyticsScene, operation: str) -> list[dict[str, Any]]:
    return [call for call in scene.sandbox.calls() if call["operation"] == operation]


def test_posts_are_asked_about_in_full_batches(scene: AnalyticsScene) -> None:
    """20 a call on TikTok, each reel alone; pages of due posts cut no account's number of readings."""
    tiktok, instagram = scene.account(Platform.TIKTOK), scene.account(Platform.INSTAGRAM)
    for _ in range(23):
        scene.post(tiktok)
    for _ in range(3):
        scene.post(instagram)
    report = read(scene)
    assert (report.due, report.read, report.calls, report.ideal_calls) == (26, 26, 5, 5)
    assert len(calls(scene, "list")) == 2
    assert len(calls(scene, "insights")) == 3
    scene.store.database["analytics"].delete_many({"metadata.accountId": tiktok})
    again = read(scene, change=lambda run: setattr(run, "page", 7))
    assert (again.already, again.read) == (3, 23)
    assert len(scene.documents()) == 26


def test_one_bad_account_never_stops_the_others(scene: AnalyticsScene) -> None:
    """A revoked one, one whose tokens cannot be opened, and one that throttles: told, and the rest read."""
    good, revoked, unreadable, busy = (scene.account(Platform.TIKTOK) for _ in range(4))
    for account in (good, revoked, unreadable, busy):
        scene.post(account)
    scene.run("UPDATE accounts SET \"accessToken\" = 'nonsense' WHERE id = :id", id=unreadable)
    for account, fault in ((revoked, {"kind": "status", "status": 401, "code": "scope_not_authorized"}),
                           (busy, {"kind": "throttle"})):  # fmt: skip
        scene.sandbox.add_fault(
            platform="tiktok",
            operation="list",
            count=5,
            account=scene.accounts.row(account).platform_account_id,
            **fault,
        )
    report = read(scene)
    assert (report.due, report.read, report.failed) == (4, 1, 3)
    assert report.bad_accounts == {
        revoked: "scope_not_authorized",
        unreadable: "unreadable_token",
        busy: "rate_limit_exceeded",
    }
    scene.sandbox.call("DELETE", "/_sandbox/faults")
    again = read(scene)
    assert (again.already, again.read, again.failed) == (1, 2, 1), "what failed is still due"


def test_an_expired_token_is_refreshed_once_and_the_reading_taken(scene: AnalyticsScene) -> None:
    account = scene.account(Platform.YOUTUBE)
    scene.post(account)
    scene.sandbox.add_fault(
        platform="youtube", operation="list", kind="status", status=401, code="authError", count=1
    )
    report = read(scene)
    assert (report.read, report.calls, report.failed) == (1, 2, 0)
    assert len(calls(scene, "token")) == 1


def test_missing_is_not_zero(scene: AnalyticsScene) -> None:
    """What the platform withdrew is null; a post it leaves out has no reading; and the run says so."""
    account = scene.account(Platform.INSTAGRAM)
    post, gone = scene.post(account, counts={"views": 5}), scene.post(account)
    scene.set_counters(
        "instagram", post.platform_post_id,
        points=[{"at": 0, "views": 5, "likes": 1}], withdrawn=["reach", "shares"],
    )  # fmt: skip
    scene.sandbox.remove_post("instagram", gone.platform_post_id)
    report = read(scene)
    assert (report.read, report.absent) == (1, 1)
    [found] = scene.documents()
    assert (found["views"], found["likes"], found["comments"]) == (5, 1, 0)
    assert (found["reach"], found["shares"], found["engagementRate"]) == (None, None, None)
    scene.sandbox.set_limits(instagram={"insightsDelayMs": 10**12})
    scene.post(account)
    late = read(scene)
    assert (late.already, late.read, late.absent) == (1, 0, 2), "insights that are not there yet"


def test_posts_without_an_id_or_an_account_are_counted_and_not_asked(scene: AnalyticsScene) -> None:
    """TikTok's public id may come late or never; a disconnected account is asked nothing."""
    account, parted = scene.account(Platform.TIKTOK), scene.account(Platform.TIKTOK)
    late = scene.post(account)
    scene.post(parted)
    scene.run(
        'UPDATE publications SET "platformPostId" = NULL WHERE id = :id', id=late.publication_id
    )
    scene.run("UPDATE accounts SET status = 'REVOKED' WHERE id = :id", id=parted)
    report = read(scene)
    assert (report.due, report.no_id, report.disconnected, report.calls) == (2, 1, 1, 0)


def test_youtubes_batches_hold_posts_of_several_channels(scene: AnalyticsScene) -> None:
    """Public statistics need no owner's token; a channel that may not ask stops no other."""
    accounts = [scene.account(Platform.YOUTUBE) for _ in range(3)]
    for account in accounts:
        scene.post(account)
    report = read(scene)
    assert (report.read, report.calls, report.ideal_calls) == (3, 1, 1)
    scene.store.database["analytics"].delete_many({"metadata.userId": scene.user_id})
    first = min(accounts)
    scene.sandbox.add_fault(
        platform="youtube", operation="list", kind="status", status=403, count=9,
        code="insufficientPermissions", account=scene.accounts.row(first).platform_account_id,
    )  # fmt: skip
    report = read(scene)
    assert (report.read, report.failed, report.absent) == (2, 1, 0)
    assert report.bad_accounts == {first: "insufficientPermissions"}


def test_a_used_up_budget_leaves_the_rest_for_later(scene: AnalyticsScene) -> None:
    """The account's day is over: the run does not wait, and says what is left."""
    account = scene.account(Platform.INSTAGRAM)
    for _ in range(3):
        scene.post(account)
    budget = scene.settings.model_copy(update={"minitik_limits": {"instagram.metrics": 2}})

    async def no_wait(_: float) -> None:
        """The slow-down of a nearly used-up budget."""

    report = read(
        scene, settings=budget, change=lambda run: setattr(run.limiter, "_sleep", no_wait)
    )
    assert (report.due, report.read, report.left, report.calls) == (3, 2, 1, 2)
    assert report.outcomes["instagram: left"] == 1


def test_a_late_reading_is_taken_until_the_next_one_is_due(scene: AnalyticsScene) -> None:
    """Its slot is the due instant, its timestamp the true one."""
    account = scene.account(Platform.TIKTOK)
    slot = this_hour() - 5 * HOUR
    weekly = scene.post(account, live_at=slot - PATIENT - timedelta(minutes=10))
    scene.post(account, live_at=slot - timedelta(minutes=10))  # hourly: five later ones are due
    report = read(scene, slot)
    assert (report.due, report.read, report.missed) == (2, 1, 1)
    assert not report.is_past
    [found] = scene.documents()
    assert found["metadata"]["publicationId"] == weekly.publication_id
    assert found["slot"] == slot
    assert found["timestamp"] >= this_hour()


def test_an_open_breaker_is_respected_and_failures_are_no_votes(scene: AnalyticsScene) -> None:
    """Numbers that cannot be read never hold posts back."""
    scene.post(scene.account(Platform.TIKTOK))

    def fail_often(run: Snapshots) -> None:
        scene.sandbox.add_fault(
            platform="tiktok", operation="list", kind="status", status=500, count=50
        )

    for _ in range(6):
        report = read(scene, change=fail_often)
        assert report.failed == 1

    async def is_open() -> bool:
        async with snapshots_of(scene.settings) as snapshots:
            open_before = await snapshots.breaker.is_open(Platform.TIKTOK)
            for _ in range(5):
                await snapshots.breaker.record_failure(Platform.TIKTOK)
            return open_before

    assert not asyncio.run(is_open())
    before = len(calls(scene, "list"))
    assert read(scene).left == 1
    assert len(calls(scene, "list")) == before


def test_two_runs_of_an_hour_read_each_post_once(scene: AnalyticsScene) -> None:
    """The second waits for the partition's lock and finds everything there."""
    for _ in range(3):
        scene.post(scene.account(Platform.TIKTOK))

    async def both() -> list[SnapshotReport]:
        async with snapshots_of(scene.settings) as one, snapshots_of(scene.settings) as two:
            return list(await asyncio.gather(one.run(this_hour()), two.run(this_hour())))

    reports = asyncio.run(both())
    assert sorted((report.read, report.already) for report in reports) == [(0, 3), (3, 0)]
    assert len(scene.documents()) == 3
