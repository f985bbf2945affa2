"""An outside scheduler may call at any time: dispatchers are woken, nothing else happens."""

import httpx
import psycopg

from minitik_dagster.db.engine import libpq_url
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene


def test_a_nudge_wakes_dispatchers_and_changes_no_row(
    api: httpx.Client, scene: Scene, admin: Person, person: Person, settings: Settings
) -> None:
    before = scene.fingerprint()
    url = libpq_url(settings.require_database_url())
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute("LISTEN minitik_due")
        answer = api.post("/api/scheduling/process", headers=admin.headers)
        assert (answer.status_code, answer.json()) == (202, {"nudged": True, "waiting": 0})
        assert [notice.channel for notice in listener.notifies(timeout=5, stop_after=1)] == [
            "minitik_due"
        ]
    assert scene.fingerprint() == before
    assert api.post("/api/scheduling/process", headers=person.headers).status_code == 403
