"""Queues, dead letters and held posts from the command line."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from minitik_dagster.db.types import Platform, to_db
from minitik_dagster.ids import new_id
from tests.api.scene import Scene
from tests.cli.running import Command


@pytest.fixture
def failed(on_database: Engine) -> tuple[str, str]:
    """A post that was too late: its publication and its dead letter."""
    scene = Scene(on_database)
    person = scene.person()
    content = scene.content(person)
    return _failed(scene, content, scene.account(person, Platform.YOUTUBE))


def _failed(scene: Scene, content: str, account: str) -> tuple[str, str]:
    publication, letter = new_id(), new_id()
    due = to_db(datetime.now(UTC) - timedelta(days=2))
    scene.run(
        'INSERT INTO publications (id, "contentId", "accountId", platform, status, stage, "dueAt", '
        '"prepareAt", error, "errorCode", "createdAt", "updatedAt", revision, "leaseToken") VALUES '
        "(:id, :content, :account, 'YOUTUBE', 'FAILED', 'failed', :due, :due, 'late', 'too_late', "
        ":due, :due, 0, 1)",
        id=publication,
        content=content,
        account=account,
        due=due,
    )
    story = (
        '[{"name": "session", "startedAt": "2026-01-01T00:00:00", "outcome": "rejected", '
        '"platformCode": "invalidTitle", "requestId": "r-7", "detail": {"message": "bad title"}}]'
    )
    scene.run(
        'INSERT INTO dead_letters (id, "publicationId", "contentId", "accountId", platform, code, '
        'reason, fix, story, "createdAt") VALUES (:id, :publication, :content, :account, '
        "'YOUTUBE', 'too_late', 'it was late', 'schedule it again', CAST(:story AS jsonb), :due)",
        id=letter,
        publication=publication,
        content=content,
        account=account,
        story=story,
        due=due,
    )
    return publication, letter


def stage(engine: Engine, publication: str) -> str:
    with engine.connect() as connection:
        sql = text("SELECT stage FROM publications WHERE id = :id")
        return str(connection.execute(sql, {"id": publication}).scalar_one())


def test_a_dead_letter_is_listed_shown_planned_and_replayed(
    minitik: Command, on_database: Engine, failed: tuple[str, str]
) -> None:
    """A replay is a plan until it is told `--yes`; a new slot lets a late post go."""
    publication, letter = failed
    [listed] = minitik.good("dead-letters", "list", "--code", "too_late", "--json").data
    assert (listed["id"], listed["publicationId"]) == (letter, publication)
    assert minitik.good("dead-letters", "list", "--platform", "tiktok").out == "no dead letters\n"
    shown = minitik.good("dead-letters", "show", letter).out
    for words in ("it was late", "schedule it again", "invalidTitle", "r-7", "bad title"):
        assert words in shown
    assert minitik.good("dead-letters", "show", letter, "--json").data["story"][0]["requestId"]

    [item] = minitik.good("dead-letters", "replay", letter, "--json").data
    assert item["action"] == "too_late"
    slot = ("--new-max-lateness", str(3 * 86_400))
    plan = minitik.good("dead-letters", "replay", "--code", "too_late", *slot).out
    assert plan.endswith("1 would be replayed; nothing was changed, repeat with --yes\n")
    assert stage(on_database, publication) == "failed"
    done = minitik.good("dead-letters", "replay", publication, *slot, "--yes").out
    assert done.endswith("1 replayed\n")
    assert stage(on_database, publication) == "scheduled"
    assert minitik.good("dead-letters", "list").out == "no dead letters\n"
    [old] = minitik.good("dead-letters", "list", "--resolved", "--json").data
    assert old["resolution"] == "replayed"


def test_a_dead_letter_is_discarded_once(
    minitik: Command, on_database: Engine, failed: tuple[str, str]
) -> None:
    publication, letter = failed
    assert minitik.good("dead-letters", "discard", letter).out == f"{letter}: discarded\n"
    assert "discarded already" in minitik.refused("dead-letters", "discard", letter)
    assert stage(on_database, publication) == "failed"


def test_a_replay_refuses_what_it_cannot_mean(minitik: Command, failed: tuple[str, str]) -> None:
    _, letter = failed
    assert "nothing is selected" in minitik.refused("dead-letters", "replay", code=2)
    assert "no dead letter" in minitik.refused("dead-letters", "replay", "nothing")
    past = ("--at", "2020-01-01T00:00:00Z")
    assert "in the past" in minitik.refused("dead-letters", "replay", letter, *past, code=2)
    assert "--from" in minitik.refused("dead-letters", "list", "--from", "yesterday", code=2)
    minitik.refused("dead-letters", "list", "--platform", "myspace", code=2)


def test_queues_are_counted_paused_and_resumed(
    minitik: Command, on_database: Engine, failed: tuple[str, str]
) -> None:
    """The pause stands in the numbers with its reason; resuming what is not paused is said."""
    publication, _ = failed
    with on_database.begin() as connection:
        connection.execute(text("UPDATE publications SET stage = 'scheduled', status = 'QUEUED'"))
    said = minitik.good("queues", "pause", "--platform", "YouTube", "--reason", "spring cleaning")
    assert said.out.startswith("youtube: paused; 1 posts of 1 creators wait")
    assert stage(on_database, publication) == "paused"
    stats = minitik.good("queues", "stats").out
    assert "spring cleaning" in stats
    numbers = minitik.good("queues", "stats", "--json").data
    [publish] = [queue for queue in numbers["queues"] if queue["name"] == "publish"]
    assert publish["counts"]["paused"] == 1
    assert [item["scope"] for item in numbers["pauses"]] == ["platform:youtube"]
    assert "is not paused" in minitik.refused("queues", "resume", "--all")
    resumed = minitik.good("queues", "resume", "--platform", "youtube").out
    assert resumed == "youtube: resumed; 1 posts go on, 1 of them are too late\n"
    assert stage(on_database, publication) == "scheduled"
    assert "one scope is needed" in minitik.refused("queues", "pause", code=2)
    assert "no account" in minitik.refused("queues", "pause", "--account", "nobody")


def test_held_posts_are_released_or_named_as_too_late(
    minitik: Command, on_database: Engine, failed: tuple[str, str]
) -> None:
    publication, _ = failed
    with on_database.begin() as connection:
        connection.execute(text("UPDATE publications SET stage = 'held', status = 'QUEUED'"))
        account = connection.execute(text("SELECT id FROM accounts")).scalar_one()
    said = minitik.good("accounts", "release", account).out
    assert said.startswith(f"{account}: 0 released, 1 too late\n")
    assert publication in said
    with on_database.begin() as connection:
        connection.execute(text('UPDATE publications SET "maxLateness" = 999999'))
    released = minitik.good("accounts", "release", account, "--json").data
    assert released == {"released": [publication], "tooLate": []}
    assert stage(on_database, publication) == "scheduled"
    assert "no account" in minitik.refused("accounts", "release", "nobody")


def test_a_queue_is_drained_in_two_steps_and_put_back(
    minitik: Command, on_database: Engine, failed: tuple[str, str]
) -> None:
    """A plan without --yes; the batch's id undoes it; the audit log says who did what."""
    publication, _ = failed
    with on_database.begin() as connection:
        connection.execute(
            text("UPDATE publications SET stage = 'scheduled', \"maxLateness\" = 999999")
        )
    plan = minitik.good("queues", "drain", "--platform", "youtube").out
    assert plan.endswith("1 would be cancelled; nothing was changed, repeat with --yes\n")
    assert stage(on_database, publication) == "scheduled"
    done = minitik.good("queues", "drain", "--all", "--yes", "--json").data
    assert (done["drained"], stage(on_database, publication)) == (1, "cancelled")
    [listed] = minitik.good("queues", "drained", "--json").data
    assert (listed["batch"], listed["left"]) == (done["batch"], 1)
    assert "1 would be put back" in minitik.good("queues", "restore", done["batch"]).out
    assert stage(on_database, publication) == "cancelled"
    assert minitik.good("queues", "restore", done["batch"], "--yes").out == "1 put back\n"
    assert stage(on_database, publication) == "scheduled"
    assert "are left" in minitik.refused("queues", "restore", done["batch"])
    acts = minitik.good("audit", "list", "--action", "queue", "--json").data
    assert [act["action"] for act in acts] == ["queue.restore", "queue.drained", "queue.drain"]
    assert "one scope is needed" in minitik.refused("queues", "drain", code=2)
    assert "no account" in minitik.refused("queues", "drain", "--account", "nobody")
    minitik.good("queues", "drain", "--all", "--yes")
    # Nothing was done: no batch that a restore would not find, and no act in the log.
    assert minitik.good("queues", "drain", "--all", "--yes").out == "nothing to drain\n"
    assert len(minitik.good("audit", "list", "--action", "queue", "--json").data) == 5
    assert minitik.good("audit", "list", "--action", "%").out == "no entry\n"
