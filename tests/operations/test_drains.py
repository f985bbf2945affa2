"""Drains are planned first, cancel what was not sent, and can be undone without a second post."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import NotFoundError
from minitik_dagster.operations import drains
from minitik_dagster.operations.audit import list_entries
from minitik_dagster.publishing.pauses import Scope
from tests.api.scene import Person, Scene
from tests.operations.posts import post

ALL = Scope()


@pytest.fixture
def person(scene: Scene) -> Person:
    return scene.person()


def _stages(scene: Scene) -> dict[str, str]:
    return {row["id"]: row["stage"] for row in scene.rows("SELECT id, stage FROM publications")}


def _told(scene: Scene) -> list[tuple[str, str]]:
    """What the streams are told, beyond that each post was scheduled."""
    rows = scene.rows(
        "SELECT data ->> 'publicationId' AS id, data ->> 'stage' AS stage FROM events "
        "WHERE type = 'publication.changed' AND data ->> 'stage' <> 'scheduled'"
    )
    return sorted((row["id"], row["stage"]) for row in rows)


def _plan(engine: Engine, scope: Scope, part: drains.Part | None = None) -> drains.Drained:
    with Session(engine) as session, session.begin():
        return drains.plan_drain(session, scope, part)


def test_a_plan_changes_nothing_and_a_drain_takes_the_scope_alone(
    engine: Engine, scene: Scene, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled with a batch id, in parts; jobs and contents follow; the others stay."""
    monkeypatch.setattr(drains, "CONTENTS_AT_ONCE", 2)
    youtube, other = (scene.account(person, Platform.YOUTUBE) for _ in range(2))
    instagram = scene.account(person, Platform.INSTAGRAM)
    mine = [post(engine, scene, person, youtube) for _ in range(3)]
    theirs = [post(engine, scene, person, account) for account in (other, instagram)]
    before = scene.fingerprint()
    assert _plan(engine, Scope(Platform.YOUTUBE)).planned == 4
    assert _plan(engine, Scope(account_id=youtube)).planned == 3
    assert scene.fingerprint() == before

    done = drains.drain(engine, Scope(account_id=youtube), actor="ops")

    assert done.posts == 3
    stages = _stages(scene)
    assert {stages[one] for one in mine} == {"cancelled"}
    assert {stages[one] for one in theirs} == {"scheduled"}
    jobs = scene.rows("SELECT status::text AS status, count(*) AS n FROM scheduled_jobs GROUP BY 1")
    assert {row["status"]: row["n"] for row in jobs} == {"CANCELLED": 3, "PENDING": 2}
    [row] = scene.rows(
        "SELECT DISTINCT error, \"errorCode\" FROM publications WHERE stage = 'cancelled'"
    )
    assert row["errorCode"] == "cancelled"
    assert done.batch in row["error"]
    assert _told(scene) == [(one, "cancelled") for one in sorted(mine)], "the streams are told"
    with Session(engine) as session:
        [batch] = drains.list_batches(session)
        acts = {entry.action: entry.actor for entry in list_entries(session.connection())}
    assert (batch.batch, batch.posts, batch.left, batch.actor) == (done.batch, 3, 3, "ops")
    assert acts == {"queue.drain": "ops", "queue.drained": "ops"}


def test_waiting_and_delayed_are_drained_apart(
    engine: Engine, scene: Scene, person: Person
) -> None:
    """The runbook's two lists: what is due already, and what is not yet."""
    account = scene.account(person)
    late = post(engine, scene, person, account, due_in=timedelta(minutes=-1))
    later = post(engine, scene, person, account)
    drains.drain(engine, ALL, actor="ops", part="waiting")
    assert _stages(scene) == {late: "cancelled", later: "scheduled"}
    drains.drain(engine, ALL, actor="ops", part="delayed")
    assert _stages(scene) == {late: "cancelled", later: "cancelled"}


def test_what_is_being_sent_is_left_alone(engine: Engine, scene: Scene, person: Person) -> None:
    """A commit that is open may be public already: the engine sees it to its end."""
    account = scene.account(person)
    sending = post(engine, scene, person, account)
    unknown = post(engine, scene, person, account)
    scene.run(
        'INSERT INTO publication_steps (id, "publicationId", "accountId", platform, name, attempt, '
        '"canPublish", "leaseToken", revision, "startedAt", "policyVersion") '
        "VALUES ('s', :id, :account, 'INSTAGRAM', 'media_publish', 1, true, 0, 0, now(), 'v1')",
        id=sending,
        account=account,
    )
    scene.run("UPDATE publications SET stage = 'unknown' WHERE id = :id", id=unknown)
    [share] = _plan(engine, ALL).shares
    assert (share.posts, share.sending) == (0, 2)
    assert drains.drain(engine, ALL, actor="ops").posts == 0
    assert _stages(scene) == {sending: "scheduled", unknown: "unknown"}


def test_a_batch_comes_back_as_it_stood(
    engine: Engine, scene: Scene, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held posts are held again with their reason; the rest is prepared anew; once only."""
    monkeypatch.setattr(drains, "CONTENTS_AT_ONCE", 1)
    account = scene.account(person)
    held, plain, late = (
        post(engine, scene, person, account),
        post(engine, scene, person, account),
        post(engine, scene, person, account, due_in=timedelta(days=-1)),
    )
    scene.run(
        "UPDATE publications SET stage = 'held', \"holdReason\" = 'ask her' WHERE id = :id", id=held
    )
    batch = drains.drain(engine, ALL, actor="ops").batch
    assert batch is not None
    with Session(engine) as session:
        plan = drains.plan_restore(session, batch)
    assert (plan.counts["restore"], plan.too_late, plan.done) == (3, 1, False)
    assert set(_stages(scene).values()) == {"cancelled"}
    scene.run("DELETE FROM events")

    done = drains.restore(engine, batch, actor="ops")

    assert (done.counts["restore"], done.too_late) == (3, 1)
    assert _stages(scene) == {held: "held", plain: "scheduled", late: "scheduled"}
    [row] = scene.rows('SELECT "holdReason" FROM publications WHERE id = :id', id=held)
    assert row["holdReason"] == "ask her"
    [row] = scene.rows("SELECT DISTINCT status::text AS status FROM scheduled_jobs")
    assert row["status"] == "PENDING"
    told = scene.rows("SELECT data ->> 'publicationId' AS id, data ->> 'stage' AS s FROM events")
    assert {row["id"]: row["s"] for row in told} == _stages(scene), "the streams are told"
    with pytest.raises(NotFoundError, match="are left"):
        drains.restore(engine, batch, actor="ops")


def test_what_was_scheduled_again_or_deleted_does_not_come_back(
    engine: Engine, scene: Scene, person: Person
) -> None:
    """A restore never makes a second post of what its owner has arranged meanwhile."""
    account = scene.account(person)
    contents = [scene.content(person) for _ in range(3)]
    again, gone, moved = (
        post(engine, scene, person, account, content=content) for content in contents
    )
    batch = drains.drain(engine, ALL, actor="ops").batch
    assert batch is not None
    new = post(engine, scene, person, account, content=contents[0])
    scene.run('UPDATE contents SET "deletedAt" = now() WHERE id = :id', id=contents[1])
    scene.run("UPDATE publications SET revision = revision + 1 WHERE id = :id", id=moved)

    done = drains.restore(engine, batch, actor="ops")

    assert dict(done.stay) == {again: "replaced", gone: "gone", moved: "changed"}
    stages = _stages(scene)
    assert stages.pop(new) == "scheduled"
    assert set(stages.values()) == {"cancelled"}
