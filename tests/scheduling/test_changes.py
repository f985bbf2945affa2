"""Cancel and move against the engine's own commit transaction: one of the two wins, never both."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import InvalidInputError, NotFoundError, StateConflictError
from minitik_dagster.publishing import commit_queries
from minitik_dagster.scheduling.changes import Change, cancel, change
from minitik_dagster.scheduling.instants import ZonedInstant
from minitik_dagster.scheduling.jobs import get_job, list_jobs
from minitik_dagster.scheduling.rules import Wish
from minitik_dagster.scheduling.schedule import schedule
from tests.api.scene import Person, Scene

OWNER = "dispatcher-1"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A pool of connections to this test's database."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def scene(engine: Engine) -> Scene:
    """What makes people, accounts and contents."""
    return Scene(engine)


@pytest.fixture
def person(scene: Scene) -> Person:
    """Somebody who publishes."""
    return scene.person()


@pytest.fixture
def job(engine: Engine, scene: Scene, person: Person) -> str:
    """A job whose one post a dispatcher has prepared and holds."""
    at = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    wish = Wish(person.id, scene.content(person), (scene.account(person, Platform.YOUTUBE),))
    with Session(engine) as session, session.begin():
        made = schedule(session, wish, ZonedInstant(at, "UTC"))
        job_id = made.job.id
    scene.run(
        "UPDATE publications SET stage = 'prepared', status = 'PUBLISHING', \"leaseToken\" = 1, "
        '"leaseOwner" = :owner, "leaseExpiresAt" = \'2100-01-01\'',
        owner=OWNER,
    )
    scene.run(
        'INSERT INTO handles (id, "publicationId", "accountId", platform, state, revision, progress, '
        '"createdAt", "updatedAt") SELECT \'h1\', id, "accountId", platform, \'active\', revision, '
        '\'{}\', "createdAt", "createdAt" FROM publications'
    )
    return job_id


def _open_commit(connection: Connection) -> list[dict[str, Any]]:
    """Run the engine's own statement that opens the commit step."""
    publication = connection.execute(text("SELECT id FROM publications")).scalar_one()
    rows = connection.execute(
        text(commit_queries.OPEN_COMMITS),
        {
            "owner": OWNER,
            "ids": [publication],
            "tokens": [1],
            "step_ids": ["step-1"],
            "handle_ids": ["h1"],
            "versions": ["v1"],
            "send_deadline": timedelta(seconds=5),
        },
    ).mappings()
    return [dict(row) for row in rows if row["opened"]]


def test_a_cancel_that_comes_while_the_commit_opens_waits_and_is_refused(
    engine: Engine, scene: Scene, person: Person, job: str
) -> None:
    """The commit's row lock decides: after it the truth is that the post is being sent."""
    outcome: list[object] = []

    def withdraw() -> None:
        try:
            with Session(engine) as session, session.begin():
                cancel(session, person.id, job)
            outcome.append("cancelled")
        except StateConflictError as error:
            outcome.append(error.state)

    thread = threading.Thread(target=withdraw)
    with engine.begin() as connection:
        assert len(_open_commit(connection)) == 1
        thread.start()
        _until_somebody_waits(engine)
        assert outcome == []
    thread.join(10)
    assert outcome == ["committing"]
    [row] = scene.rows("SELECT stage, revision FROM publications")
    assert row == {"stage": "committing", "revision": 0}


def test_a_commit_that_comes_while_a_cancel_is_under_way_opens_nothing(
    engine: Engine, scene: Scene, person: Person, job: str
) -> None:
    """What was taken back is not sent from an old copy (engine.md R6)."""
    opened: list[list[dict[str, Any]]] = []

    def commit() -> None:
        with engine.begin() as connection:
            opened.append(_open_commit(connection))

    thread = threading.Thread(target=commit)
    with Session(engine) as session, session.begin():
        cancel(session, person.id, job)
        thread.start()
        _until_somebody_waits(engine)
        assert opened == []
    thread.join(10)
    assert opened == [[]]
    assert scene.rows("SELECT id FROM publication_steps") == []
    assert scene.rows("SELECT state FROM handles") == [{"state": "dropped"}]


def test_a_moved_post_cannot_be_committed_with_its_old_preparation(
    engine: Engine, person: Person, job: str
) -> None:
    later = ZonedInstant(datetime.now(UTC) + timedelta(hours=5), "UTC")
    with Session(engine) as session, session.begin():
        change(session, person.id, job, Change(when=later))
    with engine.begin() as connection:
        assert _open_commit(connection) == []


def test_a_move_into_the_past_changes_nothing(
    engine: Engine, scene: Scene, person: Person, job: str
) -> None:
    before = scene.fingerprint()
    past = ZonedInstant(datetime.now(UTC) - timedelta(seconds=1), "UTC")
    with pytest.raises(InvalidInputError, match="in the past"), Session(engine) as session:
        change(session, person.id, job, Change(when=past))
    assert scene.fingerprint() == before


def test_a_job_of_the_old_system_is_not_touched_before_it_was_adopted(
    engine: Engine, scene: Scene, person: Person, job: str
) -> None:
    """It has no publications yet, and an old worker may still hold it."""
    scene.run("DELETE FROM handles")
    scene.run("DELETE FROM publications")
    with pytest.raises(StateConflictError, match="minitik adopt"), Session(engine) as session:
        cancel(session, person.id, job)


def test_an_operator_sees_and_cancels_anybodys_job_and_a_stranger_none(
    engine: Engine, scene: Scene, person: Person, job: str
) -> None:
    stranger = scene.person()
    with Session(engine) as session, session.begin():
        assert [view.job.id for view in list_jobs(session, None).items] == [job]
        assert list_jobs(session, stranger.id).total == 0
        with pytest.raises(NotFoundError):
            cancel(session, stranger.id, job)
        cancel(session, None, job)
        assert get_job(session, None, job).publications[0].stage == "cancelled"


def _until_somebody_waits(engine: Engine) -> None:
    """Bounded polling: until a statement of this database waits for a lock."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    while datetime.now(UTC) < deadline:
        with engine.connect() as connection:
            if connection.execute(waiting).scalar_one():
                return
    raise AssertionError("nobody waits")
