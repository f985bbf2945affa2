"""From live posts to numbers, by Dagster in this process, on real servers."""

from datetime import UTC, datetime, timedelta
from typing import Any

from dagster import AssetKey, DagsterInstance, ExecuteInProcessResult

from minitik_dagster.analytics.names import ACCOUNT_PERFORMANCE, CONTENT_PERFORMANCE, DAILY
from minitik_dagster.db.types import Platform
from minitik_dagster.definitions import defs
from tests.analytics.scene import AnalyticsScene, this_hour


def execute(job: str, key: str, instance: DagsterInstance | None = None) -> ExecuteInProcessResult:
    with instance or DagsterInstance.ephemeral() as used:
        return defs.resolve_job_def(job).execute_in_process(partition_key=key, instance=used)


def hour_key(slot: datetime) -> str:
    return f"{slot:%Y-%m-%d-%H}:00"


def metadata(result: ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    [event] = [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key == AssetKey(asset)
    ]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_a_number_travels_from_the_platform_to_the_post(scene: AnalyticsScene) -> None:
    """Readings, the day's increases, the post's totals, publications.metrics; a second run adds nothing."""
    counts = {"views": 400, "likes": 30, "comments": 6, "shares": 4, "reach": 300}
    posts = {platform: scene.post(scene.account(platform), counts=counts) for platform in Platform}
    yesterday = datetime.now(UTC) - timedelta(days=1)
    scene.reading(posts[Platform.TIKTOK], yesterday, views=150, likes=31, comments=6, shares=4)
    slot = this_hour()

    first = metadata(execute("read_metrics", hour_key(slot)), "metric_snapshots")
    again = metadata(execute("read_metrics", hour_key(slot)), "metric_snapshots")

    assert (first["due"], first["read"], first["calls"], first["ideal_calls"]) == (3, 3, 3, 3)
    assert (again["due"], again["already"], again["calls"]) == (3, 3, 0)
    documents = [one for one in scene.documents() if one["slot"] == slot]
    assert len(documents) == 3
    by_platform = {one["metadata"]["platform"]: one for one in documents}
    reel, video, short = (
        by_platform[p.value] for p in ("INSTAGRAM", "TIKTOK", "YOUTUBE") for p in [Platform(p)]
    )
    assert (reel["views"], reel["reach"], reel["impressions"]) == (400, 300, None)
    assert (video["reach"], short["shares"]) == (None, None)
    assert (video["engagementRate"], short["engagementRate"]) == (10.0, 9.0)
    assert slot <= video["timestamp"] <= datetime.now(UTC)

    today = f"{video['timestamp']:%Y-%m-%d}"
    rolled = execute("roll_up_metrics", today)
    before = scene.documents(DAILY)
    assert metadata(rolled, "daily_metrics")["posts"] == 3
    execute("roll_up_metrics", today)
    assert scene.documents(DAILY) == before, "the same readings give the same documents"

    [day] = [row for row in before if row["platform"] == "TIKTOK"]
    [entry] = day["posts"]
    assert entry["views"] | {"since": None} == {
        "increase": 250, "total": 400, "spanDays": 1, "corrected": False, "since": None,
    }  # fmt: skip
    assert entry["likes"]["increase"] == -1
    assert entry["likes"]["corrected"]
    assert entry["reach"]["total"] is None
    assert day["totals"] == {
        "views": 250, "likes": -1, "comments": 0, "shares": 0, "reach": None, "impressions": None,
    }  # fmt: skip

    performances = {row["platform"]: row for row in scene.documents(CONTENT_PERFORMANCE)}
    assert performances["INSTAGRAM"]["totals"]["reach"] == 300
    assert performances["TIKTOK"]["growth"]["7d"]["views"] == 250
    assert len(scene.documents(ACCOUNT_PERFORMANCE)) == 3
    [row] = scene.run(
        "SELECT metrics FROM publications WHERE id = :id", id=posts[Platform.TIKTOK].publication_id
    )
    assert row["metrics"]["views"] == 400
    assert row["metrics"]["reach"] is None
    assert row["metrics"]["capturedAt"].endswith("Z")


def test_a_past_hour_is_skipped_with_the_reason(scene: AnalyticsScene) -> None:
    """Its posts' next readings are due already: nothing is asked, nothing is filled in."""
    account = scene.account(Platform.TIKTOK)
    slot = this_hour() - timedelta(hours=5)
    scene.post(account, live_at=slot - timedelta(minutes=10), counts={"views": 9})
    with DagsterInstance.ephemeral() as instance:
        job = defs.resolve_job_def("read_metrics")
        result = job.execute_in_process(partition_key=hour_key(slot), instance=instance)
        assert result.success
        assert not result.get_asset_materialization_events()
        [observed] = result.get_asset_observation_events()
    told = observed.asset_observation_data.asset_observation
    assert told.metadata["missed"].value == 1
    assert "no platform tells what a counter was" in str(told.metadata["skipped"].value)
    assert scene.documents() == []
    assert not [call for call in scene.sandbox.calls() if call["operation"] == "list"]


def test_a_day_whose_readings_expire_is_kept_as_it_is(scene: AnalyticsScene) -> None:
    """A rollup that could only be made from what is left is not made again."""
    key = f"{datetime.now(UTC) - timedelta(days=360):%Y-%m-%d}"
    result = execute("roll_up_metrics", key)
    [observed] = result.get_asset_observation_events()
    assert "expired" in str(
        observed.asset_observation_data.asset_observation.metadata["skipped"].value
    )
    assert not [
        one
        for one in result.get_asset_materialization_events()
        if one.asset_key == AssetKey("daily_metrics")
    ]
