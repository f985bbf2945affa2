"""What the background work of the API has in common: turns, their end, a database that is away, a defect."""

import threading
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from minitik_dagster.api.alarm import AlarmWatch
from minitik_dagster.api.background import Background, Ending, Work
from minitik_dagster.api.epoch import EpochWatch
from minitik_dagster.api.notices import NoticePost
from minitik_dagster.api.push_post import PushPost
from minitik_dagster.api.state import ApiState
from minitik_dagster.api.webhook_post import WebhookPost
from minitik_dagster.db.engine import make_engine
from minitik_dagster.settings import Settings

DEAD = Settings(database_url=SecretStr("postgresql://nobody@127.0.0.1:1/nowhere"))


class _Asking(Work):
    """Asks a database one question a turn."""

    name, every, defect = "asking", timedelta(days=1), "asking.defect"
    down, back = "asking.database_down", "asking.database_back"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.taken = threading.Semaphore(0)

    def turn(self, _ending: Ending) -> None:
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        finally:
            self.taken.release()


class _Broken(_Asking):
    name, defect = "broken", "broken.defect"

    def turn(self, _ending: Ending) -> None:
        self.taken.release()
        raise ValueError("a defect")


def test_a_database_that_is_away_is_said_once_and_once_when_it_is_back(engine: Engine) -> None:
    """However many turns it is away for; the work goes on."""
    dead = make_engine(DEAD.require_database_url())
    work = _Asking(dead)
    background = Background(DEAD, work)
    with capture_logs() as lines:
        background.turn()
        background.turn()
        work.engine = engine
        background.turn()
        background.turn()
    assert [line["event"] for line in lines] == ["asking.database_down", "asking.database_back"]
    dead.dispose()


def test_a_defect_ends_no_work_and_is_said_each_time(engine: Engine) -> None:
    """Under the work's own name, from a thread that goes on and can still be woken."""
    work = _Broken(engine)
    background = Background(DEAD, work)
    with capture_logs() as lines:
        background.start()
        assert work.taken.acquire(timeout=10)
        background.wake()
        assert work.taken.acquire(timeout=10)
        background.stop()
    assert [line["event"] for line in lines] == ["broken.defect"] * 2


def test_it_is_woken_between_two_turns_and_stops_without_another(engine: Engine) -> None:
    work = _Asking(engine)
    background = Background(DEAD, work)
    background.start()
    assert work.taken.acquire(timeout=10)
    background.wake()
    assert work.taken.acquire(timeout=10), "a day has not passed"
    background.stop()
    assert not work.taken.acquire(blocking=False)
    assert work.name not in {thread.name for thread in threading.enumerate()}


def test_without_a_database_nothing_is_begun(engine: Engine) -> None:
    """The API may be started to look at its docs."""
    work = _Asking(engine)
    background = Background(Settings(), work)
    background.start()
    background.stop()
    assert not work.taken.acquire(blocking=False)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (AlarmWatch, ["alarm.blind"]),
        (EpochWatch, []),
        (NoticePost, ["notices.database_down"]),
        (PushPost, ["push.database_down"]),
    ],
)
def test_each_work_survives_a_dead_database_and_says_it_in_its_own_words(
    kind: type[AlarmWatch | EpochWatch | NoticePost | PushPost], said: list[str]
) -> None:
    """Once; the watch of the epoch leaves it to the others."""
    state = ApiState(DEAD.model_copy(update={"aws_s3_bucket": "any"}))
    background = Background(state.settings, kind(state))
    with capture_logs() as lines:
        background.turn()
        background.turn()
    assert [line["event"] for line in lines] == said
    state.close()


def test_webhooks_are_sent_in_one_long_turn_that_ends_when_it_is_told_to() -> None:
    """Its sender waits for the dead database; the end comes at once all the same."""
    state = ApiState(DEAD)
    background = Background(DEAD, WebhookPost(state))
    with capture_logs() as lines:
        background.start()
        background.stop()
    assert "webhooks" not in {thread.name for thread in threading.enumerate()}
    assert [line["event"] for line in lines] in ([], ["webhooks.database_down"])
    state.close()
