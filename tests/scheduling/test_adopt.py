"""Adoption: old jobs become publications exactly once; what may have been sent is never sent again."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.types import Platform, from_db
from minitik_dagster.errors import (
    ConfigurationError,
    DependencyDownError,
    InvalidInputError,
)
from minitik_dagster.scheduling.adopt import Adoption, adopt, find
from minitik_dagster.scheduling.adopt_plan import PRIVACY_HOLD
from minitik_dagster.scheduling.lead import prepare_at
from tests.scheduling.legacy import OldSystem

GONE_REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture
def engine(legacy_database_url: str) -> Iterator[Engine]:
    made = make_engine(legacy_database_url)
    yield made
    made.dispose()


@pytest.fixture
def old(engine: Engine) -> OldSystem:
    return OldSystem(engine)


def take_over(
    engine: Engine, redis_url: str | None, *, tiktok_privacy: str | None = None
) -> Adoption:
    return adopt(engine, redis_url, tiktok_privacy=tiktok_privacy)


def stages(old: OldSystem) -> dict[str, str]:
    return {key: row["stage"] for key, row in old.rows().items()}


def test_a_pending_job_becomes_one_publication_per_account(old: OldSystem, redis_url: str) -> None:
    """Due, priority, texts and preparation as scheduling itself would have stored them."""
    accounts = [old.account("INSTAGRAM"), old.account("YOUTUBE")]
    content = old.content(description="What it is about")
    job = old.job(content, accounts)
    report = take_over(old.engine, redis_url)
    rows = {row["accountId"]: row for row in old.rows().values()}
    stored = old.rows("scheduled_jobs")[job]
    assert report.jobs == 1
    assert set(rows) == set(accounts)
    for row in rows.values():
        assert (row["stage"], row["status"]) == ("scheduled", "QUEUED")
        assert row["scheduledJobId"] == job
        assert row["dueAt"] == stored["scheduledAt"]
        assert row["options"]["caption"] == "What it is about"
        assert row["maxLateness"] == 21600
    youtube = rows[accounts[1]]
    assert youtube["options"]["title"] == "A title"
    expected = prepare_at(Platform.YOUTUBE, from_db(youtube["dueAt"]), 300_000)
    assert abs(from_db(youtube["prepareAt"]) - expected) < timedelta(milliseconds=1)


def test_adopting_again_changes_nothing(old: OldSystem, redis_url: str) -> None:
    """Exactly once: a second run, and a third, find nothing to do."""
    old.job(old.content(), [old.account("YOUTUBE")])
    old.publication(old.content(), old.account("YOUTUBE"), "YOUTUBE", status="PUBLISHED")
    first = take_over(old.engine, redis_url)
    before = old.rows(), old.rows("scheduled_jobs"), old.rows("contents"), old.rows("accounts")
    for _ in range(2):
        again = take_over(old.engine, redis_url)
        assert (again.jobs, again.publications, again.history) == (0, {}, {})
        assert again.adopted_at == first.adopted_at
    after = old.rows(), old.rows("scheduled_jobs"), old.rows("contents"), old.rows("accounts")
    assert after == before


def test_looking_changes_nothing_and_needs_no_redis(old: OldSystem) -> None:
    """`minitik adopt` without --yes is a report."""
    old.job(old.content(), [old.account("YOUTUBE")])
    with Session(old.engine) as session:
        report = find(session, None)
        session.commit()
    assert (report.applied, report.jobs, report.publications) == (False, 1, {"scheduled": 1})
    assert report.adopted_at is None
    assert old.rows() == {}


def test_what_was_published_is_bound_and_not_sent_again(old: OldSystem, redis_url: str) -> None:
    """An old row for that content and account speaks for the job."""
    done, waiting = old.account("YOUTUBE"), old.account("INSTAGRAM")
    content = old.content()
    job = old.job(content, [done, waiting])
    published = old.publication(
        content, done, "YOUTUBE", status="PUBLISHED", platformPostId="v1", publishedAt=old.now
    )
    take_over(old.engine, redis_url)
    rows = old.rows()
    assert len(rows) == 2
    assert (rows[published]["stage"], rows[published]["status"]) == ("live", "PUBLISHED")
    assert rows[published]["scheduledJobId"] == job
    assert rows[published]["publishedAt"] is not None
    other = next(row for key, row in rows.items() if key != published)
    assert (other["accountId"], other["stage"]) == (waiting, "scheduled")
    (post,) = old.rows("posts").values()
    assert (post["publicationId"], post["platformPostId"]) == (published, "v1")


def test_a_row_of_an_ended_job_does_not_speak_for_a_new_wish(
    old: OldSystem, redis_url: str
) -> None:
    """Its own job accounts for it: what was scheduled since goes out."""
    account, content = old.account("YOUTUBE"), old.content()
    old.job(content, [account], status="COMPLETED", scheduledAt=old.now - timedelta(days=3))
    first = old.publication(content, account, "YOUTUBE", status="PUBLISHED")
    old.job(content, [account])
    take_over(old.engine, redis_url)
    found = stages(old)
    assert found.pop(first) == "live"
    assert list(found.values()) == ["scheduled"]


def test_what_the_old_system_was_sending_goes_to_review(old: OldSystem, redis_url: str) -> None:
    """PUBLISHING without a ledger, with or without a job: only a person can tell."""
    account, other = old.account("YOUTUBE"), old.account("INSTAGRAM")
    content = old.content()
    old.job(content, [account])
    with_job = old.publication(content, account, "YOUTUBE", status="PUBLISHING")
    alone = old.publication(old.content(), other, "INSTAGRAM", status="PUBLISHING")
    take_over(old.engine, redis_url)
    rows = old.rows()
    assert set(rows) == {with_job, alone}
    for row in rows.values():
        assert (row["stage"], row["status"], row["errorCode"]) == (
            "review",
            "PUBLISHING",
            "needs_review",
        )
        assert row["dueAt"] is not None
        assert row["options"]["caption"] == "A title"


def test_a_job_an_old_worker_had_in_hand_goes_to_review(old: OldSystem, redis_url: str) -> None:
    """ACTIVE: it may have been sent without a row that says so."""
    old.job(old.content(), [old.account("YOUTUBE")], status="ACTIVE")
    take_over(old.engine, redis_url)
    assert list(stages(old).values()) == ["review"]


def test_old_rows_without_an_open_job_get_their_stage_and_keep_their_status(
    old: OldSystem, redis_url: str
) -> None:
    """Old readers see no difference."""
    ids = {
        status: old.publication(old.content(), old.account("YOUTUBE"), "YOUTUBE", status=status)
        for status in ("PUBLISHED", "FAILED", "QUEUED")
    }
    report = take_over(old.engine, redis_url)
    rows = old.rows()
    assert {status: rows[key]["stage"] for status, key in ids.items()} == {
        "PUBLISHED": "live",
        "FAILED": "failed",
        "QUEUED": "paused",
    }
    assert {status: rows[key]["status"] for status, key in ids.items()} == {
        status: status for status in ids
    }
    assert report.history == {"live": 1, "failed": 1, "paused": 1}


def test_tiktok_without_a_chosen_privacy_is_held_until_it_is_chosen(
    old: OldSystem, redis_url: str
) -> None:
    """TikTok forbids a preselected privacy: the operator asks the creator and names it."""
    account = old.account("TIKTOK")
    old.job(old.content(), [account])
    first = take_over(old.engine, redis_url)
    (row,) = old.rows().values()
    assert (row["stage"], row["status"], row["holdReason"]) == ("held", "QUEUED", PRIVACY_HOLD)
    assert (first.publications, first.holds) == ({"held": 1}, (PRIVACY_HOLD,))
    take_over(old.engine, redis_url, tiktok_privacy="SELF_ONLY")
    (row,) = old.rows().values()
    assert (row["stage"], row["holdReason"]) == ("scheduled", None)
    assert row["options"]["privacy"] == "SELF_ONLY"
    assert old.rows("accounts")[account]["metadata"]["tiktok"] == {"defaultPrivacy": "SELF_ONLY"}


def test_a_creators_own_choice_wins_over_the_operators(old: OldSystem, redis_url: str) -> None:
    """The option is for accounts without one."""
    chosen = json.dumps({"tiktok": {"defaultPrivacy": "MUTUAL_FOLLOW_FRIENDS"}, "kept": 1})
    account = old.account("TIKTOK", metadata=chosen)
    old.job(old.content(), [account])
    take_over(old.engine, redis_url, tiktok_privacy="SELF_ONLY")
    (row,) = old.rows().values()
    assert row["options"]["privacy"] == "MUTUAL_FOLLOW_FRIENDS"
    assert old.rows("accounts")[account]["metadata"] == json.loads(chosen)


def test_a_text_no_platform_takes_is_held_with_the_reason(old: OldSystem, redis_url: str) -> None:
    """Old contents were never checked against the limits."""
    old.job(old.content(description="x" * 2201), [old.account("INSTAGRAM")])
    take_over(old.engine, redis_url)
    (row,) = old.rows().values()
    assert row["stage"] == "held"
    assert "2201 characters" in row["holdReason"]


def test_accounts_that_are_not_there_or_not_the_owners_are_reported(
    old: OldSystem, redis_url: str
) -> None:
    """Nothing is made for them, and the report says so."""
    stranger = OldSystem(old.engine).account("YOUTUBE")
    old.job(old.content(), ["nobody", stranger])
    old.job(old.content(), None)
    report = take_over(old.engine, redis_url)
    assert old.rows() == {}
    assert len(report.problems) == 3
    assert any("nobody" in line for line in report.problems)


def test_one_content_for_one_account_twice_is_two_posts(old: OldSystem, redis_url: str) -> None:
    """Two wishes; an old row speaks for the earlier one only."""
    account, content = old.account("YOUTUBE"), old.content()
    early = old.job(content, [account], scheduledAt=old.now + timedelta(minutes=5))
    late = old.job(content, [account])
    row = old.publication(content, account, "YOUTUBE", status="QUEUED")
    take_over(old.engine, redis_url)
    rows = old.rows()
    assert len(rows) == 2
    assert rows[row]["scheduledJobId"] == early
    assert {item["scheduledJobId"] for item in rows.values()} == {early, late}


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELLED"])
def test_an_ended_job_is_left_as_it_is(old: OldSystem, redis_url: str, status: str) -> None:
    """Nothing is made for it and nothing of it is written."""
    old.job(old.content(), [old.account("YOUTUBE")], status=status)
    before = old.rows("scheduled_jobs")
    report = take_over(old.engine, redis_url)
    assert (report.jobs, old.rows(), old.rows("scheduled_jobs")) == (0, {}, before)


def test_without_redis_nothing_is_taken_over(old: OldSystem) -> None:
    """The old queue must be asked first: no REDIS_URL, or one that does not answer, is refused."""
    old.job(old.content(), [old.account("YOUTUBE")])
    with pytest.raises(ConfigurationError, match="REDIS_URL is not set"):
        take_over(old.engine, None)
    with pytest.raises(DependencyDownError, match="Redis does not answer"):
        take_over(old.engine, GONE_REDIS)
    assert old.rows() == {}


def test_a_privacy_that_does_not_exist_is_refused(old: OldSystem, redis_url: str) -> None:
    """The value and the fix are named."""
    with pytest.raises(InvalidInputError, match="SELF_ONLY"):
        take_over(old.engine, redis_url, tiktok_privacy="PRIVATE")
