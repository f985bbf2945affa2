"""Posts wait for the platforms' call budgets while they are prepared, and nowhere else."""

from datetime import timedelta

import pytest
import redis
from sqlalchemy import text

from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.settings import Settings
from tests.publishing.running import all_at, run_until

pytestmark = pytest.mark.slow

TWO_DAYS = 2 * 86_400


@pytest.fixture
def one_upload(workbench: Workbench, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    """A deployment that allows itself one YouTube upload a day."""
    monkeypatch.setenv("MINITIK_LIMITS", '{"youtube.uploads": 1}')
    workbench.settings = Settings()
    return workbench


def counters(redis_url: str, pattern: str) -> dict[str, int]:
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    try:
        return {key: int(str(client.get(key))) for key in client.scan_iter(pattern)}
    finally:
        client.close()


def waits_for_budget(rows: list[Publication]) -> bool:
    return sorted(str(row.error_code) for row in rows) == ["None", "budget"] and any(
        row.stage == "live" for row in rows
    )


def test_a_post_beyond_the_budget_waits_without_losing_an_attempt(
    one_upload: Workbench, redis_url: str
) -> None:
    """No session is opened for it; when there is room again it goes out, once."""
    bench = one_upload
    account = bench.add_account(Platform.YOUTUBE)
    due_at = bench.now() + timedelta(seconds=3)
    videos = [bench.add_video(), bench.add_video()]
    ids = [
        bench.schedule(video, [(account, Platform.YOUTUBE)], due_at, max_lateness=TWO_DAYS)[0]
        for video in videos
    ]
    run_until(bench, ids, waits_for_budget)
    (waiting,) = [row for row in bench.rows(ids) if row.error_code == "budget"]
    assert (waiting.stage, waiting.attempts, waiting.lease_owner) == ("scheduled", 0, None)
    assert waiting.next_attempt_at is not None
    assert timedelta(0) < waiting.next_attempt_at - bench.now() <= timedelta(hours=25)
    with bench.engine.begin() as connection:
        steps = connection.execute(
            text('SELECT count(*) FROM publication_steps WHERE "publicationId" = :id'),
            {"id": waiting.id},
        ).scalar_one()
        assert steps == 0
        connection.execute(
            text('UPDATE publications SET "nextAttemptAt" = "dueAt" WHERE id = :id'),
            {"id": waiting.id},
        )
    (key,) = counters(redis_url, "rate_limit:youtube:app:*")
    client = redis.Redis.from_url(redis_url)
    client.delete(key)
    client.close()
    run_until(bench, ids, all_at("live"))
    assert [len(bench.public_posts(video)) for video in videos] == [1, 1]


def test_a_repeated_commit_reserves_nothing_more(workbench: Workbench, redis_url: str) -> None:
    """R9: the budget is taken once, at prepare; a refused commit goes again on the same handle."""
    account = workbench.add_account(Platform.YOUTUBE)
    video = workbench.add_video()
    workbench.sandbox.add_fault(
        platform="youtube", operation="update", kind="status", status=401, count=1
    )
    ids = workbench.schedule(
        video, [(account, Platform.YOUTUBE)], workbench.now() + timedelta(seconds=3)
    )
    run_until(workbench, ids, all_at("live"))
    assert list(counters(redis_url, "rate_limit:youtube:app:*").values()) == [1]
    assert list(counters(redis_url, "rate_limit:youtube:app.units:*").values()) == [56]
