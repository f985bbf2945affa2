"""Deleting from the bucket: nothing is forgotten, and nothing that is needed goes."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from minitik_dagster.db.tables import OutboxMessage
from minitik_dagster.media.cleaning import Cleaner, note_object, waiting
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.media.uploads import OpenUpload
from tests.media.scene import Scene
from tests.media.videos import make_video

VIDEO = make_video(seconds=1, seed=5)


def note(scene: Scene, key: str, content_id: str = "c1") -> None:
    with scene.sessions.begin() as session:
        note_object(session, content_id, key)


def message(scene: Scene, key: str) -> OutboxMessage:
    with scene.sessions() as session:
        return session.scalars(
            select(OutboxMessage).where(OutboxMessage.id == f"object:{key}")
        ).one()


def test_what_is_noted_is_deleted_once(scene: Scene) -> None:
    """Noting it twice is one note; a second round finds nothing."""
    scene.store.put("content/u/c/v.mp4", b"video", "video/mp4")
    note(scene, "content/u/c/v.mp4")
    note(scene, "content/u/c/v.mp4")
    assert scene.clean().deleted == 1
    assert scene.store.head("content/u/c/v.mp4") is None
    assert message(scene, "content/u/c/v.mp4").done_at is not None
    assert scene.clean().deleted == 0


def test_a_note_of_a_transaction_that_failed_deletes_nothing(scene: Scene) -> None:
    """The note stands or falls with what made the object superfluous."""
    scene.store.put("content/u/c/v.mp4", b"video", "video/mp4")
    with scene.sessions() as session:
        note_object(session, "c", "content/u/c/v.mp4")
        session.rollback()
    assert scene.clean().deleted == 0
    assert scene.store.head("content/u/c/v.mp4") is not None


def test_a_bucket_that_is_down_is_tried_again(scene: Scene, dead_store: ObjectStore) -> None:
    """The note stays, with the reason and a later time; nothing is given up."""
    note(scene, "content/u/c/v.mp4")
    tried = Cleaner(scene.sessions, dead_store).work()
    assert (tried.deleted, tried.again) == (0, 1)
    kept = message(scene, "content/u/c/v.mp4")
    assert kept.done_at is None
    assert "does not answer" in (kept.error or "")
    with scene.sessions.begin() as session:
        assert waiting(session) == 0
        session.execute(text('UPDATE outbox SET "dueAt" = "createdAt"'))
        assert waiting(session) == 1
    assert scene.clean().deleted == 1


def test_an_object_that_a_content_holds_stays(scene: Scene) -> None:
    """Whoever noted it was wrong: it is told in the note."""
    upload = scene.begin(len(VIDEO))
    scene.send(upload, VIDEO)
    scene.completion.complete(scene.user, upload.content_id)
    note(scene, upload.key, upload.content_id)
    assert scene.clean().kept == 1
    assert scene.store.head(upload.key) is not None
    assert "kept" in (message(scene, upload.key).error or "")


def thumbnail(scene: Scene, upload: OpenUpload) -> None:
    """Store the thumbnail, as a completion does last."""
    key = f"thumbnails/{scene.user}/{upload.content_id}/thumbnail.jpg"
    scene.store.put(key, b"x", "image/jpeg")


@pytest.mark.parametrize("left_by", ["nothing", "parts", "a completion that was cut off"])
def test_an_upload_that_nobody_ends_leaves_nothing(
    scene: Scene, dead_store: ObjectStore, left_by: str
) -> None:
    """Also with a bucket that is down when its day is over: rows at once, objects when it is back."""
    upload = scene.begin(len(VIDEO))
    if left_by != "nothing":
        scene.send(upload, VIDEO)
    if left_by.startswith("a completion"):
        thumbnail(scene, upload)
    scene.clock.move_to(scene.clock.now() + timedelta(hours=25))
    down = replace(scene, store=dead_store)
    with scene.sessions.begin() as session:
        assert down.uploads.expire_stale(session) == 1
    assert (scene.status(upload), scene.content(upload)) == ("expired", None)
    assert down.clean().again > 0
    with scene.sessions.begin() as session:
        session.execute(text('UPDATE outbox SET "dueAt" = "createdAt" WHERE "doneAt" IS NULL'))
    assert scene.clean().again == 0
    listed = scene.store.client.list_objects_v2(Bucket=scene.store.bucket)
    assert listed.get("Contents", []) == []
