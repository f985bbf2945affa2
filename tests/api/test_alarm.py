"""The API process raises the alarm by itself, and goes quietly when it ends."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from minitik_dagster.api import alarm
from minitik_dagster.settings import Settings
from tests.api.scene import Scene
from tests.api.server import serving

_LATE = """
INSERT INTO publications (id, "contentId", "accountId", platform, status, stage, "dueAt",
    "prepareAt", "createdAt", "updatedAt")
VALUES ('late', :content, :account, 'YOUTUBE', 'QUEUED', 'scheduled', :at, :at, :at, :at)
"""


def _late_publication(scene: Scene, engine: Engine) -> None:
    person = scene.person()
    values = {
        "content": scene.content(person),
        "account": scene.account(person),
        "at": (datetime.now(UTC) - timedelta(minutes=3)).replace(tzinfo=None),
    }
    with engine.begin() as connection:
        connection.execute(text(_LATE), values)


def _open_alerts(engine: Engine) -> int:
    with engine.connect() as connection:
        counted = connection.execute(text('SELECT count(*) FROM alerts WHERE "resolvedAt" IS NULL'))
        return int(counted.scalar_one())


def _becomes(engine: Engine, alerts: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if _open_alerts(engine) == alerts:
            return True
        time.sleep(0.05)
    return False


def test_without_any_dispatcher_the_alarm_appears_and_resolves(
    settings: Settings, scene: Scene, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but the API runs: the row is there within one look, and resolved within another."""
    monkeypatch.setattr(alarm, "LOOK_EVERY", timedelta(seconds=0.2))
    _late_publication(scene, engine)
    with serving(settings):
        assert _becomes(engine, 1)
        with engine.begin() as connection:
            connection.execute(text("UPDATE publications SET stage = 'failed'"))
        assert _becomes(engine, 0)
