"""From live posts to numbers, by Dagster in this process, on real servers."""

import io
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dagster import (
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    ExecuteInProcessResult,
    build_schedule_context,
    materialize,
)
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from minitik_dagster.analytics.health import (
    QUESTIONS,
    age_class,
    ask_all,
    due_slots,
    falling,
    incomplete,
    look,
    stale,
    unreconciled,
)
from minitik_dagster.analytics.late import note_late
from minitik_dagster.analytics.names import ACCOUNT_PERFORMANCE, CONTENT_PERFORMANCE, DAILY
from minitik_dagster.analytics.performance import content_documents
from minitik_dagster.analytics.readings import document_of
from minitik_dagster.analytics.rollup import day_documents
from minitik_dagster.assets.metrics import daily_metrics, metric_snapshots
from minitik_dagster.db.types import Platform
from minitik_dagster.definitions import defs
from minitik_dagster.jobs.analytics import ASSETS
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.platforms.port import PostMetrics
from minitik_dagster.settings import Settings
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
    reel, video, short = (by_platform[name] for name in ("INSTAGRAM", "TIKTOK", "YOUTUBE"))
    assert (reel["views"], reel["reach"], reel["impressions"]) == (400, 300, None)
    assert (video["reach"], short["shares"]) == (None, None)
    assert (video["engagementRate"], short["engagementRate"]) == (10.0, 9.0)
    assert slot <= video["timestamp"] <= datetime.now(UTC)

    today = f"{video['timestamp']:%Y-%m-%d}"
    rolled = execute("roll_up_metrics", today)
    before = scene.documents(DAILY)
    checked = {one.check_name: one.passed for one in rolled.get_asset_check_evaluations()}
    assert checked == dict.fromkeys(QUESTIONS, True)
    assert metadata(rolled, "daily_metrics")["documents"] == 3, "a document per account"
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
        "views": 250, "likes": -1, "comments": 0, "shares": 0,
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


def test_the_checks_tell_stale_missed_falling_and_unreconciled_readings(
    scene: AnalyticsScene,
) -> None:
    """Four questions, each of which finds what was planted for it, and nothing else."""
    now = datetime.now(UTC)
    account = scene.account(Platform.TIKTOK)
    live = now - timedelta(days=2)
    good, silent, fallen = (scene.post(account, live_at=live) for _ in range(3))
    for post in (good, fallen):
        series = post.live_at
        for slot in due_slots(series, series - timedelta(hours=1), now):
            views = 90 if post is fallen and now - slot < timedelta(hours=9) else 100
            scene.reading(post, slot + timedelta(seconds=5), views=views)
    with scene.engine.connect() as connection:
        [looked] = look(scene.store, connection, now)
        assert age_class(live, now) == "every 4 h"
        assert stale(looked).ids == [silent.publication_id]
        assert set(incomplete(looked).ids) == {silent.publication_id}
        assert falling(looked).ids == [fallen.publication_id]
        day = (now - timedelta(days=1)).date()
        documents = day_documents(scene.store, connection, day, now=now)
        scene.store.replace_partition(DAILY, f"{day}", documents, at=now)
        [looked] = look(scene.store, connection, now)
        assert not unreconciled(looked).total
        for document in documents:
            document["posts"][0]["views"]["total"] = 5
        scene.store.replace_partition(DAILY, f"{day}", documents, at=now)
        answers, posts = ask_all(scene.store, connection, now)
    assert posts == 3
    assert {name: len(found.ids) > 0 for name, found in answers.items()} == {
        "readings_fresh": True,
        "readings_complete": True,
        "views_monotone": True,
        "rollups_reconciled": True,
    }
    assert answers["rollups_reconciled"].total == 1


def test_a_day_that_was_lost_or_counted_twice_is_found(scene: AnalyticsScene) -> None:
    """A post's days must add up to the platform's counter, wherever its whole life is added up."""
    now = datetime.now(UTC)
    post = scene.post(scene.account(Platform.TIKTOK), live_at=now - timedelta(days=5))
    days = [now - timedelta(days=n) for n in (4, 3, 2)]
    for at, views in zip(days, (10, 30, 60), strict=True):
        scene.reading(post, at, views=views)

    def found(*rolled: datetime) -> int:
        for at in days:
            with scene.engine.connect() as connection:
                documents = day_documents(scene.store, connection, at.date(), now=now)
            wanted = documents if at in rolled else []
            scene.store.replace_partition(DAILY, f"{at:%Y-%m-%d}", wanted, at=now)
        for account_id, posts in content_documents(scene.store, now.date()):
            scene.store.replace_partition(CONTENT_PERFORMANCE, account_id, posts, at=now)
        with scene.engine.connect() as connection:
            answers, _ = ask_all(scene.store, connection, now)
        return answers["rollups_reconciled"].total

    assert found(*days) == 0
    assert found(days[0], days[2]) == 1, "a day was lost"
    assert found(*days[:2]) == 0, "an older rollup says what was true when it was made"


def test_every_asset_of_analytics_has_an_owner_a_kind_and_a_freshness_policy() -> None:
    """What Dagster's UI shows of them; a policy that no schedule could keep would be a false alarm."""
    specs = [spec for spec in defs.resolve_all_asset_specs() if spec.group_name == "analytics"]
    assert len(specs) == len(ASSETS)
    for spec in specs:
        assert spec.owners == ["team:analytics"], spec.key
        assert spec.kinds, spec.key
        assert spec.description, spec.key
        policy = spec.freshness_policy
        assert isinstance(policy, TimeWindowFreshnessPolicy), spec.key
        daily = spec.key.to_user_string() in {"exports", "youtube_daily_reports"}
        assert policy.warn_window is not None
        assert policy.warn_window.to_timedelta() > timedelta(hours=24 if daily else 1)


def test_a_days_increases_lie_in_the_bucket_as_parquet(
    scene: AnalyticsScene,
    s3_endpoint: str,
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Typed columns, null where nothing is known; the same day again replaces the one file."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_S3_BUCKET", s3_bucket)
    post = scene.post(scene.account(Platform.TIKTOK))
    at = datetime(2026, 3, 2, 9, tzinfo=UTC)
    scene.reading(post, at - timedelta(days=1), views=3, likes=1)
    scene.reading(post, at, views=10, likes=None)
    with scene.engine.connect() as connection:
        documents = day_documents(scene.store, connection, at.date(), now=at)
    scene.store.replace_partition(DAILY, "2026-03-02", documents, at=at)
    for _ in range(2):
        told = metadata(execute("write_lake", "2026-03-02"), "exports")
    store = ObjectStore.from_settings(Settings())
    found = store.head(str(told["key"]))
    assert found is not None
    assert str(told["key"]) == "exports/lake/exports/day=2026-03-02/exports.parquet"
    table = pq.read_table(io.BytesIO(store.read(str(told["key"]), 0, found.size)))
    [row] = table.to_pylist()
    assert (row["publication_id"], row["day"]) == (post.publication_id, at.date())
    assert (row["views_increase"], row["views_total"], row["likes_increase"]) == (7, 10, None)
    assert row["captured_at"] == at


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


def test_hours_of_a_backfill_share_a_run_and_only_those_that_were_read_count(
    scene: AnalyticsScene,
) -> None:
    """A past hour of it is skipped with the reason, as it is alone."""
    account, now = scene.account(Platform.TIKTOK), this_hour()
    scene.post(account, counts={"views": 4})
    scene.post(account, live_at=now - timedelta(hours=5, minutes=10), counts={"views": 9})
    tags = {
        "dagster/asset_partition_range_start": hour_key(now - timedelta(hours=2)),
        "dagster/asset_partition_range_end": hour_key(now),
    }
    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [metric_snapshots], instance=instance, tags=tags, resources=defs.resources
        )
        found = [
            event.event_specific_data.materialization  # type: ignore[union-attr]
            for event in result.all_events
            if event.event_type_value == "ASSET_MATERIALIZATION"
        ]
        observed = result.get_asset_observation_events()
    assert [one.partition for one in found] == [hour_key(now)]
    assert found[0].metadata["read"].value == 2
    skipped = [event.asset_observation_data.asset_observation for event in observed]
    assert [(one.partition, one.metadata["missed"].value) for one in skipped] == [
        (hour_key(now - timedelta(hours=n)), 1) for n in (1, 2)
    ]


def test_days_are_rolled_up_again_by_a_backfill(scene: AnalyticsScene) -> None:
    """A month to a run, in any order; what a late reading changed is put right, the rest untouched."""
    post = scene.post(scene.account(Platform.TIKTOK))
    start = datetime(2026, 3, 2, 9, tzinfo=UTC)
    for n, views in ((0, 10), (3, 40)):
        scene.reading(post, start + timedelta(days=n), views=views)
    tags = {
        "dagster/asset_partition_range_start": "2026-03-01",
        "dagster/asset_partition_range_end": "2026-03-06",
    }

    def backfill() -> list[tuple[str, int | None, int | None]]:
        with DagsterInstance.ephemeral() as instance:
            result = materialize(
                [daily_metrics, metric_snapshots],
                selection=[daily_metrics],
                instance=instance,
                tags=tags,
                resources=defs.resources,
            )
        assert len(result.get_asset_materialization_events()) == 6
        rows = sorted(scene.documents(DAILY), key=lambda row: str(row["partition"]))
        views = [(row["partition"], row["posts"][0]["views"]) for row in rows]
        return [(day, figure["increase"], figure["spanDays"]) for day, figure in views]

    assert backfill()[1:] == [("2026-03-05", 30, 3)]
    untouched = scene.documents(DAILY)[0]
    scene.reading(post, start + timedelta(days=2), views=25)
    assert backfill()[1:] == [("2026-03-04", 15, 2), ("2026-03-05", 15, 1)]
    assert untouched in scene.documents(DAILY)


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


def test_an_hour_that_no_run_took_is_asked_for_again(tmp_path: Path) -> None:
    """At the hour: this one, and what of the last six is not there; at half past: this one again."""
    repository = defs.get_repository_def()
    schedule = repository.get_schedule_def("read_metrics_every_hour")
    taken = AssetMaterialization("metric_snapshots", partition="2026-03-01-07:00")

    def asked(instance: DagsterInstance, minute: int) -> list[str | None]:
        context = build_schedule_context(
            instance=instance,
            repository_def=repository,
            scheduled_execution_time=datetime(2026, 3, 1, 10, minute, tzinfo=UTC),
        )
        return [one.partition_key for one in schedule.evaluate_tick(context).run_requests or []]

    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert asked(instance, 0) == ["2026-03-01-10:00"], "nothing was ever read"
        instance.report_runless_asset_event(taken)
        hours = [10, 4, 5, 6, 8, 9]
        assert asked(instance, 0) == [f"2026-03-01-{hour:02d}:00" for hour in hours]
        assert asked(instance, 30) == ["2026-03-01-10:00"]


def asked_to_roll_up(at: datetime) -> list[str | None]:
    """The partitions that the schedule asks for at an instant."""
    repository = defs.get_repository_def()
    with DagsterInstance.ephemeral() as instance:
        context = build_schedule_context(
            instance=instance,
            repository_def=repository,
            scheduled_execution_time=at,
        )
        schedule = repository.get_schedule_def("roll_up_metrics_every_hour")
        return [one.partition_key for one in schedule.evaluate_tick(context).run_requests or []]


def test_today_is_rolled_up_each_hour_and_yesterday_once_more() -> None:
    """And without MongoDB nothing is known of late days, which is no reason to ask for none."""
    midnight = datetime(2026, 3, 1, 0, 10, tzinfo=UTC)
    assert asked_to_roll_up(midnight) == ["2026-02-28", "2026-03-01"]
    assert asked_to_roll_up(midnight + timedelta(hours=9)) == ["2026-03-01"]


def test_a_reading_that_arrives_late_has_its_days_rolled_up_again(scene: AnalyticsScene) -> None:
    """Its own and the next one with a reading; asked for until it is done, and then no more."""
    post = scene.post(scene.account(Platform.TIKTOK))
    now = datetime.now(UTC)
    at = now.replace(hour=9)
    today = f"{now:%Y-%m-%d}"
    earlier = [now - timedelta(days=n) for n in (9, 6, 5)]
    scene.reading(post, earlier[0], views=10)
    scene.reading(post, earlier[2], views=40)
    assert asked_to_roll_up(at) == [today], "what nobody noted is not late"
    found = PostMetrics(post_id=post.platform_post_id, views=25)
    late = [document_of(post, found, earlier[1], earlier[1])]
    scene.store.insert(late)
    days = [f"{day:%Y-%m-%d}" for day in earlier[1:]]
    assert note_late(scene.store, late, now) == {date.fromisoformat(day) for day in days}
    assert asked_to_roll_up(at) == [today, *days]
    assert note_late(scene.store, late, earlier[1]) == set(), "a reading of today is not late"
    # Before the first partition: it breaks no tick.
    scene.store.note_late_days(["1999-12-31"], at=now)
    assert asked_to_roll_up(at) == [today, *days]
    for day, gained in zip(days, (15, 15), strict=True):
        execute("roll_up_metrics", day)
        [row] = [row for row in scene.documents(DAILY) if row["partition"] == day]
        assert row["posts"][0]["views"]["increase"] == gained
    assert asked_to_roll_up(at) == [today]


def test_the_lineage_leads_from_the_file_to_the_number() -> None:
    """Each asset stands on the one before it, back to the uploaded videos."""
    graph = defs.get_repository_def().asset_graph
    chain = [
        "contents", "publications", "metric_snapshots", "daily_metrics", "content_performance",
        "account_performance",
    ]  # fmt: skip
    for before, after in pairwise(chain):
        assert AssetKey(before) in graph.get(AssetKey(after)).parent_keys, after
    assert graph.get(AssetKey("exports")).parent_keys == {AssetKey("daily_metrics")}


def test_a_backfill_that_reaches_into_expired_days_leaves_those_as_they_are(
    scene: AnalyticsScene,
) -> None:
    """Each of them says why; the others of the run are made."""
    now = datetime.now(UTC)
    frozen, made = (f"{now - timedelta(days=n):%Y-%m-%d}" for n in (352, 347))
    scene.store.replace_partition(DAILY, frozen, [{"_id": "kept"}], at=now)
    scene.store.note_late_days([frozen, made], at=now)
    tags = {
        "dagster/asset_partition_range_start": frozen,
        "dagster/asset_partition_range_end": made,
    }
    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [daily_metrics, metric_snapshots],
            selection=[daily_metrics],
            instance=instance,
            tags=tags,
            resources=defs.resources,
        )
        told = {
            event.materialization.partition: event.materialization.metadata
            for event in result.get_asset_materialization_events()
        }
    assert "expired" in str(told[frozen]["skipped"].value)
    assert "skipped" not in told[made]
    assert [row["_id"].split("@")[0] for row in scene.documents(DAILY)] == ["kept"]
    assert scene.store.partitions(DAILY)[-1] == made
    assert scene.store.late_days() == [], "neither is asked for for ever"
