"""What `minitik adopt` reports of an old deployment before anything is changed."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pymongo
import pytest
import redis
from sqlalchemy import Engine, text

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_engine
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.operations.adoption_survey import Fate, Item, survey
from minitik_dagster.settings import Settings
from tests.cli.running import Command
from tests.operations.systems import KEY
from tests.scheduling.legacy import OldSystem, load


@pytest.fixture
def engine(
    empty_database_url: str, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    made = make_engine(empty_database_url)
    load(made, empty_database_url)
    yield made
    made.dispose()


def look(engine: Engine) -> dict[tuple[str, str, Fate], Item]:
    with engine.connect() as connection:
        found = survey(connection, Settings())
    return {(item.store, item.what, item.fate): item for item in found}


def test_every_store_is_looked_at_and_nothing_is_changed(
    engine: Engine,
    redis_url: str,
    mongodb_uri: str,
    mongodb_name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """How many, what becomes of them, and why: taken over, left, missing."""
    old = OldSystem(engine)
    sealed = Vault([bytes.fromhex(KEY)]).seal("a token")
    good = old.account("YOUTUBE", accessToken=sealed)
    old.account("YOUTUBE", accessToken=Vault([bytes.fromhex("ef" * 32)]).seal("lost"))
    old.account("TIKTOK", status="EXPIRED")
    there, pending = old.content(status="DRAFT"), old.content()
    old.job(pending, [good])
    store = ObjectStore.from_settings(Settings())
    paths = old.rows("contents")
    store.put(paths[there]["filePath"], b"video", "video/mp4")
    store.put("content/nobody/nothing/video.mp4", b"orphan", "video/mp4")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE flags (name text)"))
        connection.execute(text("INSERT INTO flags VALUES ('a'), ('b')"))
    client = redis.Redis.from_url(redis_url)
    for key in ("bull:dead-letter:1", "circuit_breaker:tiktok:state", "session:1", "bull:mail:1"):
        client.set(key, "x")
    mongo: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(mongodb_uri)
    now = datetime.now(UTC)
    mongo[mongodb_name]["analytics"].insert_many(
        [
            {"timestamp": now, "metadata": {"publicationId": "p"}, "views": 1},
            {"timestamp": now, "metadata": {"contentId": "c"}, "views": 1},
        ]
    )
    mongo[mongodb_name]["ab_tests"].insert_one({"a": 1})
    mongo.close()
    before = {name: old.rows(name) for name in ("accounts", "contents", "scheduled_jobs")}
    keys = sorted(client.keys("*"))
    found = look(engine)
    counts = {key: item.count for key, item in found.items()}
    assert counts == {
        ("postgresql", "users", Fate.TAKEN): 1,
        ("postgresql", "connected accounts", Fate.TAKEN): 2,
        ("postgresql", "accounts that are not connected", Fate.TAKEN): 1,
        ("postgresql", "access tokens", Fate.MISSING): 1,
        ("postgresql", "contents", Fate.TAKEN): 2,
        ("postgresql", "publications", Fate.TAKEN): 0,
        ("postgresql", "ended jobs", Fate.LEFT): 0,
        ("postgresql", "rows of table flags", Fate.LEFT): 2,
        ("redis", "keys of the queue dead-letter", Fate.LEFT): 1,
        ("redis", "keys circuit_breaker:*", Fate.TAKEN): 1,
        ("redis", "keys of other queues", Fate.LEFT): 1,
        ("redis", "other keys", Fate.LEFT): 1,
        ("mongodb", "documents of ab_tests", Fate.LEFT): 1,
        ("mongodb", "readings", Fate.TAKEN): 1,
        ("mongodb", "readings of no publication", Fate.LEFT): 1,
        ("s3", "media and thumbnails of contents", Fate.TAKEN): 1,
        ("s3", "media of pending posts", Fate.MISSING): 1,
        ("s3", "objects", Fate.LEFT): 1,
    }
    assert {name: old.rows(name) for name in before} == before
    assert sorted(client.keys("*")) == keys
    client.close()
    said = Command(monkeypatch, capsys).good("adopt", "--json").data
    assert len(said["stores"]) == len(found)
    assert sealed not in str(said)


def test_a_store_that_is_away_is_an_item_of_its_own(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are looked at all the same."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.delenv("MONGODB_URI")
    monkeypatch.setenv("AWS_S3_BUCKET", "a-bucket-that-is-not-there")
    found = look(engine)
    blind = {store for store, _, fate in found if fate is Fate.UNKNOWN}
    assert blind == {"redis", "mongodb", "s3"}
    assert ("postgresql", "users", Fate.TAKEN) in found
