"""Where looks at the queue begin: cheap mostly, and nothing is overlooked for longer than a second."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from minitik_dagster.db.types import Platform, to_db
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.publishing import queries
from minitik_dagster.publishing.lookout import WHOLE_EVERY, Lookout

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
looks = st.lists(
    st.tuples(st.integers(min_value=0, max_value=900), st.booleans()), min_size=1, max_size=60
)


@given(looks)
def test_no_wake_is_overlooked_for_longer_than_a_second_of_looking(
    steps: list[tuple[int, bool]],
) -> None:
    """However old it is: a whole look is taken at the first look a second after the last one."""
    lookout, now = Lookout(), START
    assert lookout.since(now, notified=False) is None
    whole = now
    for step_ms, notified in steps:
        now += timedelta(milliseconds=step_ms)
        since = lookout.since(now, notified=notified)
        if since is None:
            whole = now
        else:
            assert now - whole < WHOLE_EVERY
            assert since < whole, (
                "what was being committed during the whole look is looked at again"
            )


@given(looks)
def test_notifications_are_heeded_within_a_quarter_of_a_second(
    steps: list[tuple[int, bool]],
) -> None:
    """The pause ends when a whole look may be taken, and the look then is a whole one."""
    lookout, now = Lookout(), START
    lookout.since(now, notified=False)
    for step_ms, _ in steps:
        now += timedelta(milliseconds=step_ms)
        pause = lookout.pause(timedelta(seconds=1), now, notified=True)
        assert timedelta(0) <= pause <= timedelta(milliseconds=250)
        now += pause
        assert lookout.since(now, notified=True) is None


def test_what_did_not_fit_is_looked_for_from_the_beginning() -> None:
    """More was due than could be taken: its wakes are old, and the next look finds them."""
    lookout = Lookout()
    lookout.since(START, notified=False)
    lookout.not_all()
    assert lookout.since(START, notified=False) is None


def test_a_look_begins_where_it_is_told(workbench: Workbench) -> None:
    """Rows of an earlier wake are left to the next whole look, in the claim and in the next wake."""
    accounts = [(workbench.add_account(Platform.YOUTUBE), Platform.YOUTUBE)]
    now = workbench.now().replace(microsecond=0)
    old = workbench.schedule(workbench.add_video(), accounts, now - timedelta(hours=1))
    accounts = [(workbench.add_account(Platform.YOUTUBE), Platform.YOUTUBE)]
    new = workbench.schedule(workbench.add_video(), accounts, now)
    with workbench.engine.begin() as connection:
        connection.execute(text('UPDATE publications SET "prepareAt" = "dueAt"'))

    def claimed(since: datetime | None) -> list[str]:
        bound = to_db(since) if since else None
        with workbench.engine.connect() as connection:
            wake = connection.execute(text(queries.NEXT_WAKE), {"since": bound}).scalar_one()
            assert (wake == to_db(now)) == (since is not None)
            rows = connection.execute(
                text(queries.CLAIM),
                {
                    "owner": "o",
                    "lease": timedelta(seconds=30),
                    "window_end": None,
                    "since": bound,
                    "full": [],
                    "limit": 10,
                },
            ).all()
            connection.rollback()
        return sorted(row.id for row in rows)

    assert claimed(None) == sorted(old + new)
    assert claimed(now - timedelta(seconds=2)) == new
