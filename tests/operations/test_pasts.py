"""What a database comes from, as an operator sees it: doctor, alerts and `minitik restore`."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
import redis
from sqlalchemy import Engine

from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.operations import alerts
from minitik_dagster.operations.doctor_pasts import old_queue, restores
from minitik_dagster.operations.findings import Finding, Level
from minitik_dagster.publishing import epochs, quarantine
from minitik_dagster.scheduling.adopt import adopt
from minitik_dagster.settings import Settings
from tests.api.scene import Scene
from tests.cli.running import Command
from tests.operations.posts import post


@pytest.fixture
def settings(environment: Mapping[str, str]) -> Settings:
    return Settings()


@pytest.fixture
def minitik(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def found(engine: Engine, settings: Settings) -> dict[str, Finding]:
    """What doctor says of the database's past."""
    with engine.connect() as connection:
        items = [*old_queue(connection, settings), *restores(connection, settings)]
    return {item.check: item for item in items}


def raised(engine: Engine, settings: Settings) -> dict[str, str]:
    """What a look at the thresholds changes."""
    with engine.begin() as connection:
        looked = alerts.look(connection, settings)
    assert looked is not None
    return dict(looked.changes)


def test_an_old_queue_that_somebody_resumes_is_told(
    engine: Engine, settings: Settings, redis_url: str
) -> None:
    """Critical and red, until it is paused again; a queue that was never taken over is nobody's fault."""
    client = redis.Redis.from_url(redis_url)
    client.hset("bull:publish:meta", "opts.maxLenEvents", "10000")
    assert found(engine, settings) == {}
    adopt(engine, redis_url)
    assert raised(engine, settings) == {}
    client.hdel("bull:publish:meta", "paused")
    assert found(engine, settings)["old queue"].level is Level.RED
    assert raised(engine, settings) == {"old-queue.running": "raised"}
    adopt(engine, redis_url)
    client.close()
    assert raised(engine, settings) == {"old-queue.running": "resolved"}
    assert found(engine, settings) == {}


def test_a_redis_that_is_away_neither_raises_nor_resolves_it(
    engine: Engine, settings: Settings, redis_url: str
) -> None:
    adopt(engine, redis_url)
    client = redis.Redis.from_url(redis_url)
    client.hset("bull:publish:meta", "opts.maxLenEvents", "10000")
    client.close()
    assert raised(engine, settings) == {"old-queue.running": "raised"}
    away = settings.model_copy(update={"redis_url": None})
    assert raised(engine, away) == {}


def test_posts_in_quarantine_are_told_until_a_person_has_settled_them(
    engine: Engine, scene: Scene, settings: Settings, minitik: Command
) -> None:
    """Doctor, alert and the command name them; what was restored is remembered for a week."""
    person = scene.person()
    account = scene.account(person)
    late = post(engine, scene, person, account, due_in=timedelta(minutes=-5))
    post(engine, scene, person, account, due_in=timedelta(hours=5))
    since, until = (
        (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S")
        for minutes in (30, 1)
    )
    assert "no quarantine" in minitik.good("restore", "status").out
    assert "is not after" in minitik.refused(
        "restore", "declare", "--since", until, "--until", since, code=2
    )
    # Its log line goes to standard error, where logs are configured.
    said = minitik("restore", "declare", "--since", since, "--until", until)
    assert said.code == 0, said.err
    assert "1 posts wait" in said.out
    assert found(engine, settings)["restore"].level is Level.RED
    assert "restore.review" in raised(engine, settings)
    told = minitik.good("restore", "status", "--json").data["quarantines"][0]
    assert (told["publications"], told["waiting"]) == (1, 1)
    assert told["posts"][0]["publicationId"] == late
    assert told["posts"][0]["stoodAt"] == "scheduled"
    assert late in minitik.good("restore", "status").out
    assert "nothing was changed" in minitik.good("restore", "release", told["id"]).out
    assert "no quarantine" in minitik.refused("restore", "release", "cnobody")
    minitik.good("restore", "release", told["id"], "--not-published", "--yes")
    [row] = scene.rows("SELECT stage FROM publications WHERE id = :id", id=late)
    assert row["stage"] == "scheduled"
    assert raised(engine, settings)["restore.review"] == "resolved"
    assert found(engine, settings)["restore"].level is Level.YELLOW
    assert "restore.quarantine" in minitik.good("audit", "list").out


def test_an_epoch_that_the_bucket_has_not_taken_lately_is_told(
    engine: Engine, scene: Scene, settings: Settings
) -> None:
    epochs.keep(engine.begin, ObjectStore.from_settings(settings))
    assert found(engine, settings)["epoch"].level is Level.GREEN
    scene.run(
        'UPDATE settings SET "updatedAt" = "updatedAt" - interval \'20 minutes\' '
        "WHERE key = 'epoch:mirrored'"
    )
    assert found(engine, settings)["epoch"].level is Level.YELLOW
    assert raised(engine, settings) == {"epoch.unmirrored": "raised"}
    preview = settings.model_copy(update={"minitik_dispatch": "off"})
    assert "epoch" not in found(engine, preview)


def test_a_commit_that_was_open_in_the_backup_is_closed_and_asked_about(
    engine: Engine, scene: Scene, settings: Settings
) -> None:
    """Entering review frees an Instagram account for its next post (engine.md R5)."""
    person = scene.person()
    account = scene.account(person)
    late = post(engine, scene, person, account, due_in=timedelta(minutes=-5))
    scene.run("UPDATE publications SET stage = 'committing' WHERE id = :id", id=late)
    scene.run(
        'INSERT INTO publication_steps (id, "publicationId", "accountId", platform, name, attempt, '
        '"canPublish", "leaseToken", revision, "startedAt", "policyVersion") '
        "SELECT 's', id, \"accountId\", platform, 'commit', 1, true, 1, 0, \"dueAt\", '' "
        "FROM publications WHERE id = :id",
        id=late,
    )
    now = datetime.now(UTC)
    with engine.begin() as connection:
        quarantine.open_quarantine(connection, quarantine.Span(now - timedelta(hours=1), now))
    [step] = scene.rows('SELECT outcome, "endedAt" FROM publication_steps')
    assert step["outcome"] == "unknown"
    assert step["endedAt"] is not None
