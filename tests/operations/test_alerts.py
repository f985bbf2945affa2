"""Thresholds are crossed, told once, repeated by schedule, and resolved."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import redis
from dagster import DagsterInstance, build_sensor_context
from pydantic import SecretStr
from sqlalchemy import Engine

from minitik_dagster.errors import InvalidInputError, NotFoundError
from minitik_dagster.notifications.alert_post import AlertPost
from minitik_dagster.operations import alerts
from minitik_dagster.operations.thresholds import (
    THRESHOLDS,
    reset_threshold,
    set_threshold,
    thresholds,
)
from minitik_dagster.publishing.queries import END_DISPATCHER, REGISTER_DISPATCHER
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.sensors.alerts import alerts as alerts_sensor
from minitik_dagster.settings import Settings
from tests.api.scene import Scene
from tests.operations.posts import post

ELSEWHERE = "json://127.0.0.1:1/nobody"


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        minitik_alert_urls=SecretStr(ELSEWHERE),
    )


def _look(engine: Engine, settings: Settings) -> alerts.Looked:
    with engine.begin() as connection:
        looked = alerts.look(connection, settings)
    assert looked is not None
    return looked


def _notices(scene: Scene) -> list[dict[str, Any]]:
    sql = "SELECT payload FROM outbox WHERE kind = 'alert.notice' ORDER BY \"createdAt\", id"
    return [row["payload"] for row in scene.rows(sql)]


def _dead_letters(scene: Scene, engine: Engine, count: int) -> None:
    person = scene.person()
    publication = post(engine, scene, person, scene.account(person))
    for number in range(count):
        scene.run(
            'INSERT INTO dead_letters (id, "publicationId", "contentId", "accountId", platform, code, '
            "reason, fix, story, \"createdAt\") VALUES (:id, :publication, 'c', 'a', 'INSTAGRAM', "
            "'too_late', 'r', 'f', '[]', statement_timestamp() AT TIME ZONE 'UTC')",
            id=f"{number}",
            publication=publication,
        )


def test_the_runbooks_table_is_kept_to_the_number() -> None:
    """Its five rows, as they stand there: more than, not at least."""
    rows = {key: (item.warning, item.critical) for key, item in THRESHOLDS.items() if item.runbook}
    assert rows == {
        "publish.failed": (5, 20),
        "publish.waiting": (50, 200),
        "token-refresh.failed": (3, 10),
        "breaker.open": (0, 1),
        "dead-letters.open": (10, 50),
    }
    levels = [THRESHOLDS["publish.failed"].level(reading) for reading in (5, 6, 20, 21)]
    assert levels == [None, "warning", "warning", "critical"]


def test_a_change_of_level_is_told_once_then_by_schedule_and_resolved(
    engine: Engine, scene: Scene, settings: Settings
) -> None:
    """Warning, critical, an hour later again, resolved: four notices and no more."""
    _dead_letters(scene, engine, 6)
    assert _look(engine, settings).changes == {"publish.failed": "raised"}
    assert _look(engine, settings) == alerts.Looked({}, 0)
    with engine.begin() as connection:
        set_threshold(connection, "publish.failed", warning=1, critical=5, actor="ops")
    assert _look(engine, settings).changes == {"publish.failed": "changed"}
    assert _look(engine, settings).told == 0
    scene.run('UPDATE alerts SET "notifiedAt" = "notifiedAt" - interval \'61 minutes\'')
    assert _look(engine, settings).told == 1
    scene.run("DELETE FROM dead_letters")
    assert _look(engine, settings).changes == {"publish.failed": "resolved"}
    assert _look(engine, settings) == alerts.Looked({}, 0)
    told = [(item["level"], item["before"]) for item in _notices(scene)]
    assert told == [
        ("warning", None),
        ("critical", "warning"),
        ("critical", "critical"),
        ("resolved", "critical"),
    ]
    [row] = scene.rows('SELECT level, message, "resolvedAt" FROM alerts')
    assert row["resolvedAt"] is not None, "the history stays"
    assert "6 posts failed for good within 10 minutes (more than 5)" in row["message"]
    assert "127.0.0.1:1" not in json.dumps(_notices(scene)), (
        "a target's URL stays in the environment"
    )


def test_each_reading_is_the_rows_own(engine: Engine, scene: Scene, settings: Settings) -> None:
    """Waiting, refreshes, breakers, unknown, late, died, messages."""
    person = scene.person()
    account = scene.account(person)
    for minutes in (-1, -2, 60):
        post(engine, scene, person, account, due_in=timedelta(minutes=minutes))
    sent = post(engine, scene, person, account)
    scene.run(
        "UPDATE publications SET stage = 'live', \"committedAt\" = :now, "
        "\"dueAt\" = CAST(:now AS timestamp) - interval '40 s' WHERE id = :id",
        id=sent,
        now=datetime.now(UTC).replace(tzinfo=None),
    )
    now = datetime.now(UTC).replace(tzinfo=None)
    scene.run('UPDATE accounts SET "refreshFailedAt" = :now', now=now)
    for name, silent, ended in (("killed", 10, None), ("well", 10, 9), ("alive", 0, None)):
        scene.run(
            'INSERT INTO dispatchers (id, kind, instance, host, pid, "startedAt", "heartbeatAt", '
            "\"endedAt\") VALUES (:id, 'resident', 'i', 'h', 1, :beat, :beat, :ended)",
            id=name,
            beat=now - timedelta(minutes=silent),
            ended=now - timedelta(minutes=ended) if ended else None,
        )
    assert settings.redis_url is not None
    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as client:
        client.set("circuit_breaker:tiktok:state", "OPEN")
        client.set("circuit_breaker:youtube:state", "HALF_OPEN")
    with engine.connect() as connection:
        found = alerts.read(connection, settings)
    assert found == {
        "publish.failed": 0,
        "publish.waiting": 2,
        "token-refresh.failed": 1,
        "breaker.open": 2,
        "dead-letters.open": 0,
        "publish.unknown": 0,
        "publish.late": 40,
        "forecast.failing": None,
        "dispatchers.died": 1,
        "outbox.age": 0,
        "old-queue.running": 0,
        "restore.review": 0,
        "epoch.unmirrored": None,
        "dagster.silent": None,
        "assets.stale": 0,
        "assets.failed": 0,
        "runs.failed": 0,
        "redis.away": 0,
        "mongodb.away": 0,
        "s3.away": 0,
    }


def test_a_dispatcher_that_ended_as_it_should_has_not_died(
    engine: Engine, scene: Scene, settings: Settings
) -> None:
    """By the dispatchers' own statements: one that signed off is no alert, one that was found dead is."""
    begun = {"kind": "dagster", "run_id": None, "instance": "i", "host": "h", "pid": 1}
    for owner in ("well", "killed"):
        scene.run(REGISTER_DISPATCHER, owner=owner, **begun, window_end=None, skew_ms=0.0)
    age = 'UPDATE dispatchers SET "heartbeatAt" = "heartbeatAt" - CAST(:by AS interval)'
    scene.run(age, by=timedelta(seconds=5))
    scene.run(END_DISPATCHER, owner="well", summary="{}")
    scene.run(age + ', "endedAt" = "endedAt" - CAST(:by AS interval)', by=timedelta(minutes=9))
    with engine.connect() as connection:
        assert alerts.read(connection, settings)["dispatchers.died"] == 1
    scene.run('UPDATE dispatchers SET "endedAt" = "heartbeatAt" WHERE "endedAt" IS NULL')
    with engine.connect() as connection:
        assert alerts.read(connection, settings)["dispatchers.died"] == 1


def test_what_cannot_be_read_changes_nothing(engine: Engine, settings: Settings) -> None:
    """A dead Redis neither raises nor resolves a breaker's alert."""
    assert settings.redis_url is not None
    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as client:
        client.set("circuit_breaker:tiktok:state", "OPEN")
    assert _look(engine, settings).changes == {"breaker.open": "raised"}
    down = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1")})
    assert _look(engine, down).changes == {}


def test_an_operators_numbers_win_until_they_are_reset(engine: Engine, scene: Scene) -> None:
    with engine.begin() as connection:
        set_threshold(connection, "publish.waiting", warning=7, critical=9, actor="ops")
        found = thresholds(connection)["publish.waiting"]
        assert (found.warning, found.critical, found.changed) == (7, 9, True)
        with pytest.raises(InvalidInputError, match="smaller warning"):
            set_threshold(connection, "publish.waiting", warning=9, critical=7, actor="ops")
        with pytest.raises(NotFoundError, match=r"there are: publish\.failed"):
            set_threshold(connection, "nothing", warning=1, critical=2, actor="ops")
        reset_threshold(connection, "publish.waiting", actor="ops")
        assert thresholds(connection)["publish.waiting"] == THRESHOLDS["publish.waiting"]
    acts = scene.rows("SELECT actor, subject FROM audit_log WHERE action = 'alert.threshold'")
    assert [(row["actor"], row["subject"]) for row in acts] == [("ops", "publish.waiting")] * 2


class _Receiver(BaseHTTPRequestHandler):
    received: list[dict[str, Any]]
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append(json.loads(body))
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[tuple[str, type[_Receiver]]]:
    """A web server that takes Apprise's JSON messages; its Apprise URL."""
    handler = type("Receiver", (_Receiver,), {"received": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"json://127.0.0.1:{server.server_address[1]}/alerts", handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_notice_goes_to_each_target_and_a_dead_one_is_tried_again_alone(
    engine: Engine, scene: Scene, settings: Settings, receiver: tuple[str, type[_Receiver]]
) -> None:
    """By the notification library itself; the row that was taken is done, the other waits."""
    url, handler = receiver
    both = settings.model_copy(update={"minitik_alert_urls": SecretStr(f"{url} {ELSEWHERE}")})
    _dead_letters(scene, engine, 6)
    assert _look(engine, both).told == 2
    assert AlertPost(engine, both).work() == 2
    assert [item["title"] for item in handler.received] == ["minitik warning: publish.failed"]
    assert AlertPost(engine, both).work() == 0, "the other is put off"
    rows = scene.rows(
        "SELECT \"doneAt\" IS NOT NULL AS done, error FROM outbox WHERE kind = 'alert.notice'"
    )
    assert sorted((row["done"], row["error"]) for row in rows) == [
        (False, "the service did not take it"),
        (True, None),
    ]
    scene.run('UPDATE outbox SET "dueAt" = "dueAt" - interval \'1 hour\' WHERE "doneAt" IS NULL')
    assert AlertPost(engine, settings.model_copy(update={"minitik_alert_urls": None})).work() == 1
    assert not scene.rows('SELECT 1 FROM outbox WHERE "doneAt" IS NULL'), "a target that is gone"


def test_dagsters_sensor_looks_and_its_silence_is_an_alert(
    engine: Engine, scene: Scene, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the sensor has looked, the API process misses it after ten minutes."""
    monkeypatch.setenv("DATABASE_URL", settings.require_database_url())
    with DagsterInstance.ephemeral() as instance:
        result = alerts_sensor(build_sensor_context(instance=instance), database=DatabaseResource())
    assert "no change; 0 notices sent" in str(getattr(result, "skip_message", ""))
    assert _look(engine, settings).changes == {}
    scene.run(
        'UPDATE settings SET "updatedAt" = "updatedAt" - interval \'11 minutes\' '
        "WHERE key = 'alerts:sensor'"
    )
    assert _look(engine, settings).changes == {"dagster.silent": "raised"}
