"""Erasing a person: their data goes, ids and history stay, nothing is cut off in mid-flight."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import owner_of
from minitik_dagster.accounts.sessions import open_session
from minitik_dagster.accounts.users import create_user
from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import DependencyDownError, NotFoundError, StateConflictError
from minitik_dagster.notifications.events import CONTENT_READY, tell
from minitik_dagster.publishing.erasure import delete_media, erase, plan_erasure
from minitik_dagster.scheduling.instants import ZonedInstant
from minitik_dagster.scheduling.rules import Wish
from minitik_dagster.scheduling.schedule import schedule
from tests.api.scene import Person, Scene

EMAIL = "ada.byron@example.test"


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
def person(engine: Engine, scene: Scene) -> Person:
    """Somebody with a session, an account, a scheduled post, subscriptions and names everywhere."""
    person = scene.person(email=EMAIL)
    account = scene.account(person, Platform.YOUTUBE, details={"displayName": "Ada Byron"})
    content = scene.content(person, title="Ada's day", description="by Ada Byron")
    at = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
    with Session(engine) as session, session.begin():
        open_session(session, person.id)
        schedule(session, Wish(person.id, content, (account,)), ZonedInstant(at, "UTC"))
    scene.run("UPDATE users SET name = 'Ada Byron', image = 'ada.png' WHERE id = :id", id=person.id)
    scene.run(
        'UPDATE accounts SET "platformUsername" = \'Ada Byron\' WHERE "userId" = :id', id=person.id
    )
    scene.run(
        "INSERT INTO verification_tokens VALUES (:email, 'sha256:x', now() + interval '1 day')",
        email=EMAIL,
    )
    scene.run(
        'INSERT INTO notification_subscriptions (id, "userId", endpoint, p256dh, auth, "createdAt") '
        "VALUES ('n1', :id, 'https://push.example.test/ada', 'k', 'a', now())",
        id=person.id,
    )
    scene.run(
        'INSERT INTO webhooks (id, "userId", url, events, secret, "createdAt", "updatedAt") '
        "VALUES ('w1', :id, 'https://hooks.example.test/Ada', '{content.ready}', 's', now(), now())",
        id=person.id,
    )
    with Session(engine) as session, session.begin():
        tell(session, person.id, CONTENT_READY, title="Ada's day")
    scene.run(
        'INSERT INTO oauth_states (id, "stateHash", "userId", provider, "redirectUri", "createdAt", '
        "\"expiresAt\") VALUES ('o1', 'h', :id, 'tiktok', 'u', now(), now())",
        id=person.id,
    )
    return person


def _everything(scene: Scene) -> str:
    """Every row of every table, as text."""
    names = scene.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [
        scene.rows(f'SELECT t::text AS row FROM "{name["tablename"]}" t')  # noqa: S608 - a catalogue's name
        for name in names
    ]
    return str(rows)


def _erase(engine: Engine, user_id: str) -> Any:
    with Session(engine) as session, session.begin():
        return erase(session, user_id, actor="test")


def test_a_person_is_nowhere_any_more_and_their_posts_stay_as_ids(
    engine: Engine, scene: Scene, person: Person
) -> None:
    """No row of any table holds the address, a name or a text of theirs; the accounts are on their way out."""
    other = scene.person()
    kept = scene.account(other)
    key = person.headers["Authorization"].removeprefix("Bearer ")
    before = scene.rows("SELECT id FROM publications")
    done = _erase(engine, person.id)
    assert (done.accounts, done.posts_cancelled, done.contents) == (1, 1, 1)
    assert (done.sessions, done.keys, done.push_subscriptions) == (1, 1, 1)
    everything = _everything(scene)
    for trace in (EMAIL, "Ada", "ada.png", "push.example.test"):
        assert trace not in everything, trace
    [user] = scene.rows("SELECT * FROM users WHERE id = :id", id=person.id)
    assert user["email"] == f"deleted+{person.id}@deleted.invalid"
    assert user["deletedAt"] is not None
    [account] = scene.rows('SELECT * FROM accounts WHERE "userId" = :id', id=person.id)
    assert account["status"] == "REVOKED"
    assert account["disconnectedAt"] is not None
    [leave] = scene.rows("SELECT payload FROM outbox WHERE kind = 'leave_account'")
    assert leave["payload"]["accountId"] == account["id"], "withdrawn there, then emptied here"
    [post] = scene.rows("SELECT * FROM publications")
    assert [{"id": post["id"]}] == before
    assert (post["stage"], post["errorCode"]) == ("cancelled", "cancelled")
    [audit] = scene.rows("SELECT * FROM audit_log WHERE action = 'user.erase'")
    assert (audit["actor"], audit["subject"]) == ("test", person.id)
    for table in ("sessions", "oauth_states", "verification_tokens", "notification_subscriptions"):
        assert scene.rows(f"SELECT 1 FROM {table}") == []  # noqa: S608 - a constant
    with Session(engine) as session:
        assert owner_of(session, key) is None
    [untouched] = scene.rows("SELECT * FROM accounts WHERE id = :id", id=kept)
    assert untouched["accessToken"] == "sealed-access-token"


def test_a_plan_changes_nothing_and_counts_the_same(
    engine: Engine, scene: Scene, person: Person
) -> None:
    before = scene.fingerprint()
    with Session(engine) as session, session.begin():
        planned = plan_erasure(session, person.id)
    assert scene.fingerprint() == before
    assert _erase(engine, person.id) == planned
    assert _erase(engine, person.id).erased_before, "erasing again changes nothing"
    with pytest.raises(NotFoundError), Session(engine) as session:
        plan_erasure(session, "nobody")


@pytest.mark.parametrize("stage", ["committing", "unknown", "confirming", "review"])
def test_it_is_refused_while_a_post_is_in_flight(
    engine: Engine, scene: Scene, person: Person, stage: str
) -> None:
    """What is being sent or settled still needs the account; nothing at all is changed."""
    scene.run("UPDATE publications SET stage = :stage, status = 'PUBLISHING'", stage=stage)
    before = scene.fingerprint()
    with pytest.raises(StateConflictError) as refused:
        _erase(engine, person.id)
    assert refused.value.state == stage
    assert scene.fingerprint() == before


def test_it_is_refused_while_the_old_queue_holds_a_post(
    engine: Engine, scene: Scene, person: Person
) -> None:
    scene.run('UPDATE publications SET "scheduledJobId" = NULL')
    with pytest.raises(StateConflictError, match="minitik adopt"):
        _erase(engine, person.id)


def test_the_address_is_free_again(engine: Engine, person: Person) -> None:
    _erase(engine, person.id)
    with Session(engine) as session, session.begin():
        assert create_user(session, EMAIL).id != person.id


def test_media_goes_after_the_commit_and_what_failed_is_tried_again(
    engine: Engine, scene: Scene, person: Person
) -> None:
    """An object that could not be deleted stays named, and only that one is asked for again."""
    scene.content(person)
    asked: list[str] = []
    with pytest.raises(StateConflictError):
        delete_media(engine, person.id, asked.append)
    _erase(engine, person.id)

    def second_fails(key: str) -> None:
        asked.append(key)
        if len(asked) == 2:
            raise DependencyDownError("s3", "no answer")

    left = delete_media(engine, person.id, second_fails)
    assert left == (asked[1],)
    again: list[str] = []
    assert delete_media(engine, person.id, again.append) == ()
    assert again == [asked[1]]
    assert delete_media(engine, person.id, again.append) == ()
    assert again == [asked[1]]
