"""Attempts are counted per client and window in PostgreSQL, whoever counts at the same time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.attempts import use_attempt
from minitik_dagster.db.engine import make_engine
from minitik_dagster.errors import TooManyAttemptsError

# So long that no test crosses its end by being slow.
LONG = timedelta(days=365_00)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = make_engine(database_url, pool_size=20)
    yield made
    made.dispose()


def attempt(engine: Engine, kind: str = "connect", client: str = "c", limit: int = 5) -> bool:
    with Session(engine) as session, session.begin():
        try:
            use_attempt(session, kind, client, limit=limit, window=LONG)
        except TooManyAttemptsError:
            return False
    return True


def test_so_many_and_no_more_each_kind_and_client_for_itself(engine: Engine) -> None:
    assert [attempt(engine) for _ in range(7)] == [True] * 5 + [False] * 2
    with (
        Session(engine) as session,
        pytest.raises(TooManyAttemptsError, match="5 attempts") as told,
    ):
        use_attempt(session, "connect", "c", limit=5, window=LONG)
    assert timedelta(0) < told.value.retry_after <= LONG
    assert attempt(engine, client="another")
    assert attempt(engine, kind="sign-in")


def test_many_at_once_do_not_slip_through(engine: Engine) -> None:
    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(lambda _: attempt(engine), range(60))) == 5


def test_an_attempt_whose_transaction_fails_is_not_counted(engine: Engine) -> None:
    """Hence a transaction of its own."""
    with Session(engine) as session:
        use_attempt(session, "connect", "c", limit=1, window=LONG)
        session.rollback()
    assert attempt(engine, limit=1)
    assert not attempt(engine, limit=1)


def test_a_new_window_begins_anew_and_old_ones_are_forgotten(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                'INSERT INTO attempts (kind, client, "windowStart", used) '
                "VALUES ('connect', 'c', '1700-01-01', 5), ('connect', 'other', '1700-01-01', 5)"
            )
        )
    assert attempt(engine)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT client, used FROM attempts ORDER BY 1, 2")).all()
    assert [tuple(row) for row in rows] == [("c", 1), ("other", 5)]
