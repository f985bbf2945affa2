"""Redis, MongoDB and S3 away: seen by whoever looks, kept in the database, told, and resolved by themselves."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.operations import alerts, servers
from minitik_dagster.operations.losses import LOSSES
from minitik_dagster.settings import Settings
from tests.api.scene import Scene
from tests.operations.test_alerts import _dead_letters

DEAD: dict[str, dict[str, Any]] = {
    "redis": {"redis_url": SecretStr("redis://:hunter2@127.0.0.1:1")},
    "mongodb": {"mongodb_uri": SecretStr("mongodb://u:hunter2@127.0.0.1:1")},
    "s3": {"aws_endpoint_url_s3": "http://127.0.0.1:1"},
}
_stores: dict[tuple[str | None, str | None], ObjectStore] = {}
# A client of MongoDB waits a second for a server that is not there, at each look.
each = pytest.mark.parametrize(
    "server", ["redis", pytest.param("mongodb", marks=pytest.mark.slow), "s3"]
)


@pytest.fixture
def whole(
    database_url: str, redis_url: str, mongodb_uri: str, s3_endpoint: str, s3_bucket: str
) -> Settings:
    """An environment with all servers."""
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        mongodb_uri=SecretStr(mongodb_uri),
        aws_endpoint_url_s3=s3_endpoint,
        aws_s3_bucket=s3_bucket,
    )


def _ask(settings: Settings) -> list[servers.Answer]:
    def store() -> ObjectStore:
        # Building a client takes longer than the question.
        key = (settings.aws_endpoint_url_s3, settings.aws_s3_bucket)
        return _stores.setdefault(key, ObjectStore.from_settings(settings))

    return servers.ask(settings, store)


def _look(engine: Engine, settings: Settings) -> dict[str, str]:
    """One look of a process with these settings; what it changed."""
    asked = _ask(settings)
    with engine.begin() as connection:
        looked = alerts.look(connection, settings, asked=asked)
    assert looked is not None
    return {key: str(change) for key, change in looked.changes.items()}


def _pass(scene: Scene, server: str, seconds: int) -> None:
    """The first who missed it did so earlier."""
    scene.run(
        "UPDATE settings SET value = jsonb_build_object('since', CAST(value ->> 'since' AS timestamp) "
        "- make_interval(secs => :seconds)) WHERE key = 'away:' || :server",
        seconds=seconds,
        server=server,
    )


@each
def test_a_server_away_is_told_after_its_time_and_resolved_when_it_answers_anybody(
    engine: Engine, scene: Scene, whole: Settings, server: str
) -> None:
    """With what its loss means; other alerts are judged in the same look."""
    others = {"redis": "redis_url", "mongodb": "mongodb_uri", "s3": "aws_s3_bucket"}
    del others[server]
    whole = whole.model_copy(update=dict.fromkeys(others.values()))
    gone = whole.model_copy(update=DEAD[server])
    assert _look(engine, gone) == {}, "not at once: it may only start again"
    _dead_letters(scene, engine, 6)
    _pass(scene, server, 400)
    assert _look(engine, gone) == {f"{server}.away": "raised", "publish.failed": "raised"}
    [row] = scene.rows("SELECT level, message FROM alerts WHERE key = :key", key=f"{server}.away")
    assert row["level"] == ("critical" if server == "s3" else "warning")
    assert LOSSES[server] in row["message"]
    assert "hunter2" not in row["message"]
    _pass(scene, server, 20_000)
    assert _look(engine, gone).get(f"{server}.away") == (None if server == "s3" else "changed")
    assert _look(engine, whole)[f"{server}.away"] == "resolved"
    assert scene.rows("SELECT 1 FROM settings WHERE key LIKE 'away:%'") == []


def test_a_server_that_is_not_configured_is_no_alert_and_ends_none(
    engine: Engine, scene: Scene, whole: Settings
) -> None:
    """A process without it has no word in it; when nobody asks any more it is forgotten."""
    whole = whole.model_copy(update={"mongodb_uri": None, "aws_s3_bucket": None})
    gone = whole.model_copy(update=DEAD["redis"])
    without = whole.model_copy(update={"redis_url": None})
    assert _look(engine, without) == {}
    assert scene.rows("SELECT 1 FROM settings WHERE key LIKE 'away:%'") == []
    _look(engine, gone)
    _pass(scene, "redis", 400)
    assert _look(engine, gone) == {"redis.away": "raised"}
    assert _look(engine, without) == {}
    scene.run(
        'UPDATE settings SET "updatedAt" = "updatedAt" - interval \'11 minutes\' '
        "WHERE key = 'away:redis'"
    )
    assert _look(engine, without) == {"redis.away": "resolved"}
    assert _look(engine, gone) == {}, "a new absence has a time of its own"


def test_while_redis_is_away_what_it_alone_knows_keeps_its_state(
    engine: Engine, whole: Settings, scene: Scene
) -> None:
    """No storm: neither a breaker's alert nor the old queue's comes or goes by it."""
    scene.run(
        'INSERT INTO alerts (id, key, level, message, "openedAt", "lastSeenAt") SELECT \'a\', '
        "'breaker.open', 'warning', 'm', n, n FROM (SELECT now() AT TIME ZONE 'UTC' AS n) t"
    )
    gone = whole.model_copy(update=DEAD["redis"])
    assert _look(engine, gone) == {}
    assert _look(engine, whole) == {"breaker.open": "resolved"}


@pytest.fixture
def silent() -> Iterator[int]:
    """A server that takes every connection and never says a word."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
        yield int(listener.getsockname()[1])


@pytest.mark.slow
def test_servers_that_hang_are_asked_side_by_side_and_not_for_long(
    whole: Settings, silent: int
) -> None:
    """All three at once hang; each is let go by its own patience, and none of them is believed."""
    hanging = whole.model_copy(
        update={
            "redis_url": SecretStr(f"redis://127.0.0.1:{silent}"),
            "mongodb_uri": SecretStr(f"mongodb://127.0.0.1:{silent}"),
            "aws_endpoint_url_s3": f"http://127.0.0.1:{silent}",
        }
    )
    answers = _ask(hanging)
    assert {one.server: one.ok for one in answers} == dict.fromkeys(servers.SERVERS, False)
    assert all("within" not in one.detail for one in answers), "their own patience ended first"


def test_what_is_not_there_is_asked_and_answers_by_name(whole: Settings) -> None:
    nothing = Settings(database_url=whole.database_url)
    assert [(one.ok, one.configured) for one in _ask(whole)] == [(True, True)] * 3
    assert [(one.ok, one.configured) for one in _ask(nothing)] == [(False, False)] * 3
    assert "REDIS_URL is not set" in _ask(nothing)[0].detail
