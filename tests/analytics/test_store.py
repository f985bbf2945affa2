"""The store on the embedded server: what is made, what is refused, and partitions that are replaced whole."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from pymongo import UpdateOne
from pymongo.errors import OperationFailure

from minitik_dagster.analytics.collection import AnalyticsCollectionError, problems
from minitik_dagster.analytics.metrics import NAMES
from minitik_dagster.analytics.names import DAILY, PARTITIONS, READINGS
from minitik_dagster.analytics.readings import Reading
from minitik_dagster.analytics.store import AnalyticsStore
from tests import mongo_guard

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)


def rows(*names: str) -> list[dict[str, object]]:
    return [{"_id": name, "accountId": name, "userId": "u"} for name in names]


def test_the_collection_is_made_once_and_found_fit(store: AnalyticsStore) -> None:
    """And again by another process, changing nothing."""
    assert problems(store.database) == []
    store._ensured = False
    assert problems(store.database) == []
    store.database[PARTITIONS].update_one({"_id": "schema"}, {"$set": {"expireAfterSeconds": 5}})
    [problem] = problems(store.database)
    assert "collMod" in problem


def test_a_plain_collection_under_its_name_is_an_error_that_says_what_to_do(
    store: AnalyticsStore,
) -> None:
    store._client[store._database.name][READINGS].insert_one({"views": 1})
    with pytest.raises(AnalyticsCollectionError, match="renameCollection"):
        store.ensure()


def test_a_partition_is_replaced_whole(store: AnalyticsStore) -> None:
    """What is not in the new one is gone; the same documents again write nothing."""
    assert store.replace_partition(DAILY, "2026-03-01", rows("a", "b"), at=NOW)
    assert store.replace_partition(DAILY, "2026-03-02", rows("a"), at=NOW)
    before = list(store.database[DAILY].find())
    assert not store.replace_partition(DAILY, "2026-03-01", rows("b", "a"), at=NOW)
    assert list(store.database[DAILY].find()) == before
    assert store.replace_partition(DAILY, "2026-03-01", rows("b", "c"), at=NOW)
    found = store.rows(DAILY, ["2026-03-01"], {"userId": "u"})
    assert sorted(str(row["accountId"]) for row in found) == ["b", "c"]
    assert store.database[DAILY].count_documents({}) == 3
    [one] = store.documents(DAILY, ["2026-03-01", "2026-03-02"], ["b", "nobody"])
    assert one["accountId"] == "b"
    picked = store.pick(DAILY, {"2026-03-01": ["b"], "2026-03-02": ["a"], "2026-03-03": ["a"]})
    assert sorted(str(row["accountId"]) for row in picked) == ["a", "b"]
    assert len(store.documents(DAILY, ["2026-03-01", "2026-03-02", "2026-03-03"], ["a", "c"])) == 2


def test_readers_see_no_half_written_partition(store: AnalyticsStore) -> None:
    """Documents whose writer died before the pointer was moved do not count, and go with the next."""
    store.replace_partition(DAILY, "2026-03-01", rows("a"), at=NOW)
    orphan = {"_id": "z@c0", "accountId": "z", "userId": "u"}
    store.database[DAILY].insert_one({**orphan, "partition": "2026-03-01", "generation": "c0"})
    assert len(store.rows(DAILY, ["2026-03-01"], {})) == 1
    store.replace_partition(DAILY, "2026-03-01", rows("a", "b"), at=NOW)
    assert store.database[DAILY].count_documents({"accountId": "z"}) == 0


def test_who_began_earlier_never_overwrites_who_began_later(store: AnalyticsStore) -> None:
    """Two writers of a partition: the younger generation stands, whole."""
    younger = {"generation": "d" * 25, "collection": DAILY, "partition": "2026-03-01"}
    store.database[PARTITIONS].insert_one({"_id": f"{DAILY}:2026-03-01", **younger})
    assert not store.replace_partition(DAILY, "2026-03-01", rows("a"), at=NOW)
    assert store.database[DAILY].count_documents({}) == 0


def test_one_document_of_a_partition_is_replaced_in_place(store: AnalyticsStore) -> None:
    """A person's refresh; the next rollup of the whole partition writes it anew."""
    assert not store.replace_document(DAILY, "2026-03-01", rows("a")[0])
    store.replace_partition(DAILY, "2026-03-01", rows("a", "b"), at=NOW)
    assert store.replace_document(DAILY, "2026-03-01", {**rows("a")[0], "userId": "v"})
    [changed] = store.rows(DAILY, ["2026-03-01"], {"userId": "v"})
    assert changed["accountId"] == "a"
    assert store.replace_partition(DAILY, "2026-03-01", rows("a", "b"), at=NOW)
    assert store.rows(DAILY, ["2026-03-01"], {"userId": "v"}) == []


def test_documents_of_the_old_collector_are_read(store: AnalyticsStore) -> None:
    """They have no slot, and 0 in reach and impressions where nothing was known."""
    old = {"timestamp": NOW, "metadata": {"publicationId": "p"}, "views": 7, "likes": 0,
           "reach": 0, "impressions": 0}  # fmt: skip
    store.database[READINGS].insert_one(old)
    [found] = store.readings(["p"])
    expected = dict.fromkeys(NAMES) | {"views": 7, "likes": 0}
    assert found == Reading("p", NOW, NOW, expected)


def test_the_guard_refuses_what_a_real_server_refuses(store: AnalyticsStore) -> None:
    """Upserts, updates, deletes by a measured value and unique indexes, with the server's own error."""
    readings = store.database[READINGS]
    readings.insert_one({"timestamp": NOW, "metadata": {"publicationId": "p"}, "views": 1})
    refused: list[Callable[[], object]] = [
        lambda: readings.update_one({"metadata.publicationId": "p"}, {"$set": {"views": 1}}, upsert=True),
        lambda: readings.replace_one({"views": 1}, {"views": 2}),
        lambda: readings.find_one_and_update({"views": 1}, {"$set": {"views": 2}}),
        lambda: readings.delete_many({"views": 1}),
        lambda: readings.bulk_write([UpdateOne({"views": 1}, {"$set": {"views": 2}}, upsert=True)]),
        lambda: readings.create_index("slot", unique=True),
    ]  # fmt: skip
    for one in refused:
        with pytest.raises(OperationFailure, match=r"time-series|meta field|timeseries") as told:
            one()
        assert told.value.code in {72, 67}
    told_of, mongo_guard.violations[:] = list(mongo_guard.violations), []
    assert len(told_of) == len(refused)
    [kept] = readings.find()
    assert kept["views"] == 1
    assert readings.delete_many({"metadata.publicationId": "p"}).deleted_count == 1
