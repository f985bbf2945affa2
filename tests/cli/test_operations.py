"""Jobs, publications, reviews, breakers and adoption from the command line."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform
from minitik_dagster.resilience.breaker import Breaker
from minitik_dagster.scheduling.adopt import adopt
from tests.cli.running import Command
from tests.scheduling.legacy import OldSystem


@pytest.fixture
def scheduled(on_database: Engine, redis_url: str) -> tuple[str, str]:
    """A job due in an hour and its publication."""
    old = OldSystem(on_database)
    job = old.job(old.content(), [old.account("YOUTUBE")])
    adopt(on_database, redis_url)
    (publication,) = old.rows()
    return job, publication


def test_a_job_is_listed_and_cancelled_once(
    minitik: Command, on_database: Engine, scheduled: tuple[str, str]
) -> None:
    """A cancelled job cannot be cancelled again, and says which state forbids it."""
    job, publication = scheduled
    (listed,) = minitik.good("schedule", "list", "--status", "pending", "--json").data
    assert (listed["id"], listed["stages"], listed["status"]) == (job, ["scheduled"], "PENDING")
    assert job in minitik.good("schedule", "list").out
    assert minitik.good("schedule", "cancel", job).out == f"{job}: cancelled\n"
    with Session(on_database) as session:
        assert session.get_one(Publication, publication).stage == "cancelled"
    assert "already cancelled" in minitik.refused("schedule", "cancel", job)
    assert "no scheduled job" in minitik.refused("schedule", "cancel", "nothing")
    assert minitik.good("schedule", "list", "--status", "PENDING", "--json").data == []


def test_a_publication_is_shown_with_its_stage_and_steps(
    minitik: Command, on_database: Engine, scheduled: tuple[str, str]
) -> None:
    """For people a page, for programs an object."""
    _, publication = scheduled
    with on_database.begin() as connection:
        connection.execute(
            text(
                """INSERT INTO publication_steps (id, "publicationId", "accountId", platform, name,
                attempt, "canPublish", "leaseToken", revision, "startedAt", outcome,
                "platformCode", "policyVersion")
                SELECT 's1', id, "accountId", platform, 'session', 1, false, 1, 0,
                "createdAt", 'throttled', 'quotaExceeded', 'v' FROM publications"""
            )
        )
    shown = minitik.good("publications", "show", publication, "--json").data
    assert (shown["id"], shown["stage"], shown["platform"]) == (publication, "scheduled", "youtube")
    assert shown["dueAt"].endswith("Z")
    assert [(step["step"], step["code"]) for step in shown["steps"]] == [
        ("session", "quotaExceeded")
    ]
    page = minitik.good("publications", "show", publication).out
    assert "quotaExceeded" in page
    assert "no publication" in minitik.refused("publications", "show", "nothing")


def test_a_content_is_rolled_back_after_a_yes(
    minitik: Command, on_database: Engine, scheduled: tuple[str, str]
) -> None:
    """Asked first; then what was not sent is cancelled and the content a draft; safe to repeat."""
    _, publication = scheduled
    with on_database.begin() as connection:
        connection.execute(text("UPDATE settings SET value = '\"live\"' WHERE key = 'world'"))
        content = connection.execute(text('SELECT "contentId" FROM publications')).scalar_one()
    assert minitik("publications", "rollback", content).code == 1  # nobody said yes
    with Session(on_database) as session:
        assert session.get_one(Publication, publication).stage == "scheduled"
    done = minitik.good("publications", "rollback", content, "--yes", "--json").data
    assert (done["contentId"], done["status"]) == (content, "DRAFT")
    assert [(post["id"], post["outcome"]) for post in done["publications"]] == [
        (publication, "cancelled")
    ]
    assert f"{content}: DRAFT" in minitik.good("publications", "rollback", content, "--yes").out
    assert "no content" in minitik.refused("publications", "rollback", "nothing", "--yes")


def test_a_review_is_listed_and_settled_by_a_persons_word(
    minitik: Command, on_database: Engine, redis_url: str
) -> None:
    """`--published` makes it live under its id; `--not-published` sends it again; both once."""
    old = OldSystem(on_database)
    for _ in range(2):
        old.publication(old.content(), old.account("INSTAGRAM"), "INSTAGRAM", status="PUBLISHING")
    adopt(on_database, redis_url)
    waiting = minitik.good("reviews", "list", "--json").data
    first, second = (item["publicationId"] for item in waiting)
    minitik.good("reviews", "resolve", first, "--published", "1789")
    minitik.good("reviews", "resolve", second, "--not-published")
    rows = old.rows()
    assert (rows[first]["stage"], rows[first]["platformPostId"]) == ("live", "1789")
    assert rows[second]["stage"] == "scheduled"
    assert minitik.good("reviews", "list").out == "nothing waits for review\n"
    assert "not in review" in minitik.refused("reviews", "resolve", first, "--not-published")
    (actor, *_) = [row["actor"] for row in old.rows("audit_log").values()]
    assert actor


def test_an_open_breaker_is_shown_and_closed(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)

    async def open_it() -> None:
        breaker = Breaker(redis_url)
        for _ in range(5):
            await breaker.record_failure(Platform.TIKTOK)
        await breaker.aclose()

    asyncio.run(open_it())
    states = {item["platform"]: item for item in minitik.good("breaker", "status", "--json").data}
    assert (states["tiktok"]["state"], states["tiktok"]["failures"]) == ("OPEN", 5)
    assert states["tiktok"]["openedAt"].endswith("Z")
    assert states["youtube"]["state"] == "CLOSED"
    assert minitik.good("breaker", "reset", "TikTok").out == "tiktok: closed\n"
    states = {item["platform"]: item for item in minitik.good("breaker", "status", "--json").data}
    assert states["tiktok"]["state"] == "CLOSED"


def test_a_breaker_without_redis_says_so(minitik: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "REDIS_URL is not set" in minitik.refused("breaker", "status")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    assert "Redis does not answer" in minitik.refused("breaker", "status")


def test_adoption_reports_first_and_acts_only_when_told(
    minitik: Command, monkeypatch: pytest.MonkeyPatch, on_database: Engine, redis_url: str
) -> None:
    """The report changes nothing; --yes does it, once; what a person must do is noted."""
    old = OldSystem(on_database)
    old.job(old.content(), [old.account("TIKTOK"), old.account("YOUTUBE")])
    late = old.now - timedelta(days=2)
    old.publication(
        old.content(), old.account("YOUTUBE"), "YOUTUBE", status="FAILED", createdAt=late
    )
    report = minitik.good("adopt").out
    assert "1 open jobs" in report
    assert "would become held" in report
    assert "run: minitik adopt --yes" in report
    assert {row["stage"] for row in old.rows().values()} == {None}
    assert "REDIS_URL is not set" in minitik.refused("adopt", "--yes")
    monkeypatch.setenv("REDIS_URL", redis_url)
    done = minitik.good("adopt", "--yes", "--json").data
    assert done["applied"]
    assert done["publications"] == {"held": 1, "scheduled": 1}
    assert done["history"] == {"failed": 1}
    queue = {"exists": False, "paused": False, "active": 0, "known": [], "counts": {}}
    assert done["oldQueue"] == queue
    assert "--tiktok-privacy" in done["holds"][0]
    assert "would" not in minitik.good("adopt", "--yes", "--tiktok-privacy", "SELF_ONLY").out
    assert "nothing to adopt" in minitik.good("adopt").out.splitlines()
    assert "is not known" in minitik.refused("adopt", "--tiktok-privacy", "EVERYBODY", code=2)
