"""PostgreSQL away: each process tells it by itself, and what was is written down when it is back."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from minitik_dagster.api.database_watch import DatabaseWatch
from minitik_dagster.api.state import ApiState
from minitik_dagster.operations import alerts
from minitik_dagster.operations.database_away import KEY, DatabaseAway
from minitik_dagster.operations.losses import LOSSES
from minitik_dagster.operations.thresholds import set_threshold
from minitik_dagster.settings import Settings
from tests.api.scene import Scene
from tests.notifications.receiver import Receiver, receiving

DEAD = SecretStr("postgresql://nobody:hunter2@127.0.0.1:1/nowhere")
NOBODY = "json://127.0.0.1:1/nobody"


class _Clock:
    """Stands until it is moved."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def target() -> Iterator[Receiver]:
    """Where MINITIK_ALERT_URLS points to."""
    with receiving() as made:
        yield made


def _url(target: Receiver) -> str:
    return target.url.replace("http", "json", 1)


def _told(target: Receiver) -> list[str]:
    return [request.body.decode() for request in target.requests]


def test_an_outage_is_told_once_and_again_each_hour(clock: _Clock, target: Receiver) -> None:
    """Without a database, by a real target; a short one is nobody's business."""
    away = DatabaseAway([_url(target)], clock=clock)
    for seconds in (0, 30, 60):
        clock.now = 1_000 + seconds
        away.away("OperationalError")
    assert _told(target) == []
    for seconds in (61, 75, 3_600):
        clock.now = 1_000 + seconds
        away.away("OperationalError")
    [message] = _told(target)
    assert "minitik critical: postgresql.away" in message
    assert LOSSES["postgresql"] in message
    clock.now = 1_000 + 61 + 3_600
    away.away("OperationalError")
    away.away("OperationalError")
    assert len(_told(target)) == 2


def test_a_target_that_does_not_take_it_is_tried_again_alone(
    clock: _Clock, target: Receiver
) -> None:
    target.answers = [500, 204]
    with receiving() as other:
        away = DatabaseAway([_url(target), _url(other)], clock=clock)
        away.away("OperationalError")
        clock.now += 61
        for _ in range(3):
            away.away("OperationalError")
        assert (len(target.requests), len(other.requests)) == (2, 1)


def test_when_it_is_back_the_episode_is_history_and_its_end_is_told_from_the_outbox(
    engine: Engine, scene: Scene, clock: _Clock, target: Receiver, database_url: str
) -> None:
    """One row though two processes saw it; a third, which saw less of it than the threshold, has no word."""
    settings = Settings(
        database_url=SecretStr(database_url), minitik_alert_urls=SecretStr(_url(target))
    )
    first, second, third = (DatabaseAway([_url(target)], clock=clock) for _ in range(3))
    first.away("OperationalError")
    clock.now += 30
    second.away("OperationalError")
    clock.now += 70
    for one in (first, second, third):
        one.away("OperationalError")
    assert len(_told(target)) == 2, "each process tells on its own"
    clock.now += 20
    for one in (first, second, third):
        with engine.begin() as connection:
            one.write(connection)
        one.forget()
    [row] = scene.rows(
        'SELECT key, level, "resolvedAt" - "openedAt" AS lasted, "notifiedLevel" AS told FROM alerts'
    )
    assert (row["key"], row["level"], row["told"]) == (KEY, "critical", "critical")
    assert 119 <= row["lasted"].total_seconds() <= 125
    with engine.begin() as connection:
        assert alerts.tell(connection, settings) == 1
        assert alerts.tell(connection, settings) == 0
    [notice] = scene.rows("SELECT payload FROM outbox WHERE kind = 'alert.notice'")
    assert (notice["payload"]["key"], notice["payload"]["level"]) == (KEY, "resolved")


def test_the_api_process_tells_an_outage_and_writes_it_down_by_the_operators_own_numbers(
    engine: Engine, scene: Scene, clock: _Clock, target: Receiver, database_url: str
) -> None:
    """The numbers that were in force when the database was last there."""
    settings = Settings(database_url=SecretStr(database_url))
    away = DatabaseAway([_url(target)], clock=clock)
    with engine.begin() as connection:
        set_threshold(connection, KEY, warning=5, critical=5_000, actor="ops")
    there = DatabaseWatch(ApiState(settings), away)
    gone = DatabaseWatch(ApiState(settings.model_copy(update={"database_url": DEAD})), away)
    there.turn(lambda: False)
    gone.turn(lambda: False)
    clock.now += 6
    gone.turn(lambda: False)
    [message] = _told(target)
    assert "minitik warning: postgresql.away" in message
    assert "hunter2" not in message
    there.turn(lambda: False)
    [row] = scene.rows('SELECT level, "resolvedAt" IS NOT NULL AS over FROM alerts')
    assert (row["level"], row["over"]) == ("warning", True)
    there.turn(lambda: False)
    assert len(scene.rows("SELECT 1 FROM alerts")) == 1


@pytest.mark.parametrize("change", [{"minitik_dispatch": "off"}, {"minitik_instance": "preview"}])
def test_a_preview_tells_no_outage(
    change: dict[str, str], scene: Scene, clock: _Clock, target: Receiver, database_url: str
) -> None:
    """What it saw last decides: a preview's process that loses production's database is silent."""
    scene.run("INSERT INTO settings VALUES ('instance', '\"default\"', now())")
    settings = Settings(database_url=SecretStr(database_url)).model_copy(update=change)
    away = DatabaseAway([_url(target)], clock=clock)
    state = ApiState(settings)
    watch = DatabaseWatch(state, away)
    watch.turn(lambda: False)
    state.settings = settings.model_copy(update={"database_url": DEAD})
    for _ in range(2):
        watch.turn(lambda: False)
        clock.now += 100
    watch.turn(lambda: False)
    assert _told(target) == []
    assert scene.rows("SELECT 1 FROM alerts") == []
