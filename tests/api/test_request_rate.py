"""How many requests a key may make: told on every answer, refused beyond, nobody else's business."""

from collections.abc import Iterator

import httpx
import pytest

from minitik_dagster.settings import Settings
from tests.api.browsing import sign_in
from tests.api.scene import Person, Scene
from tests.api.server import serving

LIMIT = 3


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Three requests a minute."""
    return settings.model_copy(update={"minitik_api_requests_per_minute": LIMIT})


@pytest.fixture
def api(settings: Settings) -> Iterator[httpx.Client]:
    """The API with few requests allowed."""
    with serving(settings) as client:
        yield client


def _left(answer: httpx.Response) -> int:
    name, left, seconds = answer.headers["ratelimit"].split(";")
    assert name == '"default"'
    assert 1 <= int(seconds.removeprefix("t=")) <= 60
    assert answer.headers["ratelimit-policy"] == f'"default";q={LIMIT};w=60'
    return int(left.removeprefix("r="))


def test_beyond_the_limit_it_is_429_with_retry_after_and_others_are_served(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """Good answers and refusals count alike; a session and another's key have counts of their own."""
    answers = []
    while True:  # a minute may end in between: then it begins anew
        answers.append(api.get("/api/scheduling/nothing", headers=person.headers))
        if answers[-1].status_code == 429:
            break
        assert answers[-1].status_code == 404
        assert len(answers) <= 2 * LIMIT
    assert _left(answers[0]) == LIMIT - 1
    refused = answers[-1]
    assert _left(refused) == 0
    assert refused.json()["type"] == "/problems/throttled"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert api.get("/api/accounts", headers=scene.person().headers).status_code == 200
    assert api.get("/api/accounts", headers=sign_in(scene, person.id)).status_code == 200
    open_ = api.get("/healthz")
    assert open_.status_code == 200
    assert "ratelimit" not in open_.headers
    unknown = api.get("/api/accounts", headers={"Authorization": "Bearer mtk_unknown"})
    assert unknown.status_code == 401
    assert "ratelimit" not in unknown.headers


def test_zero_counts_none(settings: Settings, person: Person) -> None:
    with serving(settings.model_copy(update={"minitik_api_requests_per_minute": 0})) as api:
        answers = [api.get("/api/accounts", headers=person.headers) for _ in range(LIMIT + 2)]
    assert {answer.status_code for answer in answers} == {200}
    assert "ratelimit" not in answers[0].headers
