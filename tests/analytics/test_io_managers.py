"""What the IO managers store and refuse, through assets of the test's own."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster import AssetIn, DagsterInstance, asset, materialize

from minitik_dagster.analytics.names import READINGS
from minitik_dagster.analytics.readings import Reading, document_of
from minitik_dagster.assets.metrics import DAYS, HOURS
from minitik_dagster.db.types import Platform
from minitik_dagster.definitions import defs
from minitik_dagster.platforms.port import PostMetrics
from tests.analytics.scene import AnalyticsScene, this_hour


def store(
    manager: str, value: object, key: str, *, hourly: bool = False
) -> tuple[Mapping[str, Any], Any]:
    """Materialize `value` and load it again; the metadata, and what was loaded."""
    days = HOURS if hourly else DAYS
    loaded: list[Any] = []

    @asset(
        partitions_def=days, io_manager_key=manager, metadata={"minitik/collection": "analytics_x"}
    )
    def numbers() -> Any:
        return value

    @asset(partitions_def=days, ins={"numbers": AssetIn()})
    def reader(numbers: Any) -> None:
        loaded.append(numbers)

    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [numbers, reader], partition_key=key, instance=instance, resources=defs.resources
        )
        [first, _] = result.get_asset_materialization_events()
    return {name: one.value for name, one in first.materialization.metadata.items()}, loaded[0]


def test_readings_that_are_missing_are_inserted_and_none_is_rewritten(
    scene: AnalyticsScene,
) -> None:
    """Post and hour decide; who reads gets the earliest of each."""
    account = scene.account(Platform.TIKTOK)
    posts = [scene.post(account) for _ in range(2)]
    slot = this_hour()
    key = f"{slot:%Y-%m-%d-%H}:00"

    def documents(views: int, seconds: int) -> Sequence[Mapping[str, Any]]:
        return [
            document_of(
                post,
                PostMetrics(post_id=post.platform_post_id, views=views),
                slot,
                slot + timedelta(seconds=seconds),
            )
            for post in posts
        ]

    first, _ = store("readings", documents(10, 20)[:1], key, hourly=True)
    again, loaded = store("readings", documents(99, 30), key, hourly=True)
    assert (first["inserted"], again["readings"], again["inserted"]) == (1, 2, 1)
    # What an overlapping run wrote beside it.
    scene.store.insert([dict(one) for one in documents(5, 10)[:1]])
    _, later = store("readings", [], key, hourly=True)

    def views(told: Sequence[Reading]) -> dict[str, int | None]:
        return {one.publication_id: one.counters["views"] for one in told}

    first_id, second_id = (post.publication_id for post in posts)
    assert views(loaded) == {first_id: 10, second_id: 99}
    assert views(later) == {first_id: 5, second_id: 99}
    assert len(scene.documents(READINGS)) == 3


@pytest.mark.parametrize(
    ("manager", "value", "hourly"),
    [
        ("readings", ["no document"], True),
        ("readings", [{"timestamp": datetime(2026, 3, 2, tzinfo=UTC), "metadata": {}}], True),
        ("rollups", [{"_id": "a"}], False),
        ("lake", {"2026-03-02": "no table"}, False),
        ("lake", {}, False),
    ],
)
def test_what_does_not_belong_there_is_refused(
    scene: AnalyticsScene,
    s3_endpoint: str,
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    manager: str,
    value: object,
    hourly: bool,
) -> None:
    """Nothing is stored, and the error names the asset."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    monkeypatch.setenv("AWS_S3_BUCKET", s3_bucket)
    with pytest.raises(TypeError, match="numbers: "):
        store(manager, value, "2026-03-02-00:00" if hourly else "2026-03-02", hourly=hourly)
    assert scene.documents(READINGS) == []
    assert scene.documents("analytics_x") == []
