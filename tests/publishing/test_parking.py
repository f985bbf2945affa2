"""An open breaker parks posts with what they have, and lets them go in order when it closes."""

import time
from datetime import timedelta

import pytest
import redis
from sqlalchemy import text

from minitik_dagster.db.types import Platform, PublicationStatus
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.resilience.breaker import breaker_keys
from tests.publishing.running import all_at, run_until

pytestmark = pytest.mark.slow

STATE, FAILURES, OPENED_AT, PROBE = breaker_keys(Platform.YOUTUBE)


class Operator:
    """What an operator (or a failing platform) does to YouTube's breaker."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, decode_responses=True)

    def open(self, *, seconds_ago: float = 0.0) -> None:
        self._client.set(STATE, "OPEN", ex=360)
        self._client.set(OPENED_AT, str(int((time.time() - seconds_ago) * 1000)), ex=360)

    def reset(self) -> None:
        self._client.delete(STATE, FAILURES, OPENED_AT)

    def is_closed(self) -> bool:
        return self._client.get(STATE) is None


@pytest.fixture
def operator(redis_url: str) -> Operator:
    return Operator(redis_url)


def test_posts_wait_while_the_breaker_is_open_and_go_out_after_a_reset(
    workbench: Workbench, operator: Operator
) -> None:
    """Parked = QUEUED, no attempt used, nothing asked of the platform; DEL lets them go at once."""
    account = workbench.add_account(Platform.YOUTUBE)
    videos = [workbench.add_video() for _ in range(3)]
    operator.open()
    now = workbench.now()
    ids = [
        workbench.schedule(
            video, [(account, Platform.YOUTUBE)], now - timedelta(seconds=9 - place)
        )[0]
        for place, video in enumerate(videos)
    ]
    run_until(workbench, ids, all_at("parked"))
    rows = workbench.rows(ids)
    assert {row.status for row in rows} == {PublicationStatus.QUEUED}
    assert {row.attempts for row in rows} == {0}
    assert all("breaker" in (row.hold_reason or "") for row in rows)
    assert workbench.sandbox.calls() == []
    reset = False

    def reset_once() -> None:
        nonlocal reset
        if not reset:
            operator.reset()
            reset = True

    run_until(workbench, ids, all_at("live"), meanwhile=reset_once, seconds=45)
    assert [len(workbench.public_posts(video)) for video in videos] == [1, 1, 1]


def test_a_breaker_that_opens_before_the_instant_parks_the_post_with_its_handle(
    workbench: Workbench, operator: Operator
) -> None:
    """R9: the commit is not sent; afterwards the same handle is committed, nothing prepared twice."""
    account = workbench.add_account(Platform.YOUTUBE)
    video = workbench.add_video()
    due_at = workbench.now() + timedelta(seconds=6)
    ids = workbench.schedule(video, [(account, Platform.YOUTUBE)], due_at)
    opened = False

    def open_once() -> None:
        nonlocal opened
        if not opened and workbench.rows(ids)[0].stage == "prepared":
            operator.open()
            opened = True

    run_until(workbench, ids, all_at("parked"), meanwhile=open_once)
    assert workbench.public_posts(video) == []
    operator.reset()
    run_until(workbench, ids, all_at("live"), seconds=45)
    assert len(workbench.public_posts(video)) == 1
    with workbench.engine.connect() as connection:
        names = connection.execute(
            text('SELECT name FROM publication_steps ORDER BY "startedAt"')
        ).scalars()
        assert list(names) == ["session", "upload", "commit"]


def test_after_the_cooldown_one_post_probes_and_closes_the_breaker(
    workbench: Workbench, operator: Operator
) -> None:
    """No operator is needed: the probe's success closes it, and the others follow."""
    account = workbench.add_account(Platform.YOUTUBE)
    videos = [workbench.add_video() for _ in range(2)]
    operator.open(seconds_ago=301)
    due_at = workbench.now() - timedelta(seconds=1)
    ids = workbench.schedule_many(
        [(video, [(account, Platform.YOUTUBE)], due_at) for video in videos]
    )
    run_until(workbench, ids, all_at("live"), seconds=60)
    assert operator.is_closed()
    assert [len(workbench.public_posts(video)) for video in videos] == [1, 1]
