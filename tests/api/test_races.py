"""A hundred requests at once: limits hold, and what only one may win is won by one."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from minitik_dagster.db.types import SubscriptionTier
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene
from tests.api.server import serving

AT_ONCE = 100


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """No count of requests: this is about what they do."""
    return settings.model_copy(update={"minitik_api_requests_per_minute": 0})


@pytest.fixture
def api(settings: Settings) -> Iterator[httpx.Client]:
    """A client that waits for its turn: all of them queue up behind one row."""
    with serving(settings) as client:
        client.timeout = httpx.Timeout(100)
        yield client


def test_a_free_users_sixth_post_is_refused_however_many_ask_at_once(
    api: httpx.Client, scene: Scene
) -> None:
    person = scene.person(tier=SubscriptionTier.FREE)
    account = scene.account(person)
    due = datetime.now(UTC) + timedelta(days=2)
    bodies = [
        {
            "contentId": scene.content(person),
            "accountIds": [account],
            "scheduledAt": (due + timedelta(minutes=number)).isoformat(),
            "allowDuplicate": True,
        }
        for number in range(AT_ONCE)
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(
            pool.map(
                lambda body: api.post("/api/scheduling", headers=person.headers, json=body), bodies
            )
        )
    assert Counter(one.status_code for one in answers) == {201: 5, 422: AT_ONCE - 5}
    assert len(scene.rows("SELECT 1 AS one FROM scheduled_jobs")) == 5
    assert len(scene.rows("SELECT 1 AS one FROM publications")) == 5


def test_a_job_that_is_cancelled_and_moved_at_once_is_cancelled_by_one(
    api: httpx.Client, scene: Scene, person: Person, tomorrow: str
) -> None:
    """Moves before the cancel are granted, whatever comes after it is told the state."""
    body = {
        "contentId": scene.content(person),
        "accountIds": [scene.account(person)],
        "scheduledAt": tomorrow,
    }
    made = api.post("/api/scheduling", headers=person.headers, json=body).json()
    path = f"/api/scheduling/{made['scheduledJobId']}"
    later = datetime.now(UTC) + timedelta(days=3)

    def ask(number: int) -> tuple[str, httpx.Response]:
        if number % 2:
            return "cancel", api.delete(path, headers=person.headers)
        at = (later + timedelta(minutes=number)).isoformat()
        return "move", api.patch(path, headers=person.headers, json={"scheduledAt": at})

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask, range(AT_ONCE)))
    told = Counter((kind, answer.status_code) for kind, answer in answers)
    assert told["cancel", 200] == 1
    assert told["cancel", 409] == AT_ONCE // 2 - 1
    assert told["move", 200] + told["move", 409] == AT_ONCE // 2
    refused = [answer.json() for _, answer in answers if answer.status_code == 409]
    assert {one["state"] for one in refused} == {"cancelled"}
    [job] = scene.rows('SELECT status::text AS status, "scheduledAt" AS at FROM scheduled_jobs')
    [post] = scene.rows('SELECT stage, "dueAt" AS at FROM publications')
    assert (job["status"], post["stage"]) == ("CANCELLED", "cancelled")
    assert job["at"] == post["at"]
