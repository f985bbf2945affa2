"""Instagram's moving day: how full it is at the instant, when there is room, and how sure that is."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from minitik_dagster.db.engine import make_engine
from minitik_dagster.platforms.port import Quota
from minitik_dagster.scheduling.quota import Usage, quota_problem, usage_of
from tests.api.scene import Scene

DAY = timedelta(hours=24)
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def ago(*hours: float) -> tuple[datetime, ...]:
    return tuple(NOW - timedelta(hours=one) for one in hours)


def test_a_day_with_room_is_no_finding() -> None:
    assert quota_problem(Quota(49, 50, DAY), Usage(), NOW, NOW) is None


def test_what_ages_before_the_instant_makes_room() -> None:
    """Full now, and not at the post's own instant."""
    quota, usage = Quota(2, 2, DAY), Usage(ago(23, 1))
    assert quota_problem(quota, usage, NOW + timedelta(minutes=61), NOW + DAY) is None
    found = quota_problem(quota, usage, NOW + timedelta(minutes=59), NOW + DAY)
    assert found is not None
    assert "has published 2 of 2 posts in 24 hours" in found.message
    assert "room again by 2026-11-24 13:00 UTC" in found.message
    assert not found.certain


def test_what_is_planned_before_counts() -> None:
    found = quota_problem(Quota(1, 3, DAY), Usage(ago(1), planned=2), NOW, NOW + DAY)
    assert found is not None
    assert "2 more are to go out before this one" in found.message
    assert not found.certain


def test_it_is_refused_only_where_the_day_is_ours_and_stays_full() -> None:
    """A post of somebody else's may age before: then nobody knows, and it is a warning."""
    latest = NOW + timedelta(hours=6)
    ours = quota_problem(Quota(2, 2, DAY), Usage(ago(2, 1)), NOW, latest)
    assert ours is not None
    assert ours.certain
    mixed = quota_problem(Quota(3, 3, DAY), Usage(ago(2, 1)), NOW, latest)
    assert mixed is not None
    assert not mixed.certain
    foreign = quota_problem(Quota(3, 2, DAY), Usage(ago(2)), NOW, latest)
    assert foreign is not None
    assert "is not known" in foreign.message


@given(
    hours=st.lists(st.floats(0, 23.9), max_size=12),
    foreign=st.integers(0, 5),
    total=st.integers(0, 12),
    due_in=st.floats(0, 24),
    late=st.floats(0, 12),
)
def test_a_refusal_is_never_wrong(
    hours: list[float], foreign: int, total: int, due_in: float, late: float
) -> None:
    """Whenever it is certain, the day is full at every instant at which the post may go out."""
    published = tuple(sorted(ago(*hours)))
    due = NOW + timedelta(hours=due_in)
    latest = due + timedelta(hours=late)
    quota = Quota(len(published) + foreign, total, DAY)
    found = quota_problem(quota, Usage(published), due, latest)
    counted = sum(at + DAY > latest for at in published)
    if found is not None and found.certain:
        assert counted >= total
    if found is None:
        assert sum(at + DAY > due for at in published) + foreign < total


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A pool of connections to this test's database."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


def test_usage_is_read_from_the_rows(engine: Engine) -> None:
    """Accepted within a day, and what waits before the instant; other accounts are not counted."""
    scene = Scene(engine)
    person = scene.person()
    account, other = scene.account(person), scene.account(person)
    rows = [
        (account, "live", "interval '1 hour'", None),
        (account, "removed", "interval '23 hours'", None),
        (account, "live", "interval '25 hours'", None),
        (other, "live", "interval '1 hour'", None),
        (account, "scheduled", None, "interval '1 hour'"),
        (account, "cancelled", None, "interval '1 hour'"),
        (account, "scheduled", None, "interval '3 hours'"),
    ]
    for number, (owner, stage, accepted, due) in enumerate(rows):
        at = f"statement_timestamp() AT TIME ZONE 'UTC' - {accepted}" if accepted else "NULL"
        when = f"statement_timestamp() AT TIME ZONE 'UTC' + {due}" if due else "NULL"
        scene.run(
            'INSERT INTO publications (id, "contentId", "accountId", platform, status, stage, '  # noqa: S608 - constants of this test
            '"acceptedAt", "dueAt", "createdAt", "updatedAt") '
            f"VALUES (:id, :content, :account, 'INSTAGRAM', 'QUEUED', :stage, {at}, {when}, "
            "'2026-01-01', '2026-01-01')",
            id=f"p{number}",
            content=scene.content(person),
            account=owner,
            stage=stage,
        )
    with Session(engine) as session:
        usage = usage_of(session, [account], datetime.now(UTC) + timedelta(hours=2))
    assert (len(usage[account].published), usage[account].planned) == (2, 1)
    assert list(usage) == [account]
