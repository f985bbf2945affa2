"""YouTube's uploads of a day are the whole app's: told at scheduling, before somebody's post is late."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from minitik_dagster.db.types import Platform
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.scheduling.upload_day import day_problem, upload_day
from minitik_dagster.settings import Settings


@pytest.fixture
def workbench(
    database_url: str,
    s3_endpoint: str,
    s3_bucket: str,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Workbench]:
    """Posts as rows."""
    environment = {
        "DATABASE_URL": database_url,
        "AWS_ENDPOINT_URL_S3": s3_endpoint,
        "AWS_S3_BUCKET": s3_bucket,
        "ENCRYPTION_KEY": "ab" * 32,
        **sandbox.environment,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    bench = Workbench(Settings(), sandbox)
    yield bench
    bench.close()


@pytest.mark.parametrize(
    ("due", "begin", "hours"),
    [
        ("2026-12-24T07:59:00", "2026-12-23T08:00:00", 24),
        ("2026-12-24T08:00:00", "2026-12-24T08:00:00", 24),
        ("2026-03-08T20:00:00", "2026-03-08T08:00:00", 23),
        ("2026-11-01T20:00:00", "2026-11-01T07:00:00", 25),
    ],
)
def test_a_day_is_californias(due: str, begin: str, hours: int) -> None:
    """Its clock changes included."""
    found = upload_day(datetime.fromisoformat(due).replace(tzinfo=UTC))
    assert found[0] == datetime.fromisoformat(begin).replace(tzinfo=UTC)
    assert found[1] - found[0] == timedelta(hours=hours)


def test_what_is_planned_by_anybody_takes_of_the_day(workbench: Workbench) -> None:
    """Of that day and of YouTube only; what was made today counts, what was cancelled does not."""
    noon = datetime(2026, 12, 24, 20, tzinfo=UTC)
    youtube = workbench.add_account(Platform.YOUTUBE)
    tiktok = workbench.add_account(Platform.TIKTOK)
    accounts = [(youtube, Platform.YOUTUBE), (tiktok, Platform.TIKTOK)]
    for due in (noon, noon + timedelta(hours=1), noon + timedelta(days=1)):
        workbench.schedule(workbench.add_video(100), accounts, due)
    cancelled = workbench.schedule(workbench.add_video(100), accounts, noon)
    made = workbench.schedule(workbench.add_video(100), accounts, noon - timedelta(days=3))
    with Session(workbench.engine) as session, session.begin():
        for row in workbench.rows(cancelled):
            session.merge(row).stage = "cancelled"
        for row in workbench.rows(made):
            stored = session.merge(row)
            stored.stage, stored.committed_at = "live", noon
        session.flush()
        assert day_problem(session, 4, noon, 1) is None
        full = day_problem(session, 3, noon, 1)
        assert full is not None
        assert full.message.startswith("3 of the 3 YouTube uploads of 2026-12-24 (Pacific time)")
        assert day_problem(session, 4, noon, 2) is not None
        assert day_problem(session, 1, noon + timedelta(days=2), 1) is None
