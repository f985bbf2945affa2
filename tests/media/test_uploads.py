"""The life of an upload up to its completion: begin, resume, confirm, abort, expire."""

from datetime import timedelta

import pytest

from minitik_dagster.db.types import ContentStatus
from minitik_dagster.errors import (
    DependencyDownError,
    InvalidInputError,
    NotFoundError,
    RuleRefusedError,
    StateConflictError,
)
from minitik_dagster.media.new_upload import NewUpload
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.media.parts import MIB, chunk_size_for
from minitik_dagster.media.uploads import Uploads
from tests.media.scene import Scene

GIB = 1024 * MIB


def test_beginning_makes_a_draft_and_signs_every_part(scene: Scene) -> None:
    """The content waits as DRAFT without a file; parts are alike but the last."""
    upload = scene.begin(20 * MIB + 7)
    assert upload.key == f"content/{scene.user}/{upload.content_id}/walk.mp4"
    assert (upload.chunk_size, upload.total_chunks) == (8 * MIB, 3)
    assert [chunk.number for chunk in upload.chunk_urls] == [1, 2, 3]
    assert [chunk.length for chunk in upload.chunk_urls] == [8 * MIB, 8 * MIB, 4 * MIB + 7]
    content = scene.content(upload)
    assert content is not None
    assert content.status is ContentStatus.DRAFT
    assert content.file_path is None
    assert scene.status(upload) == "open"


@pytest.mark.parametrize(
    ("size", "chunk", "parts"),
    [(1, 8 * MIB, 1), (8 * MIB, 8 * MIB, 1), (8 * MIB + 1, 8 * MIB, 2), (GIB, 8 * MIB, 128)],
)
def test_small_files_are_one_part_and_none_has_more_than_10000(
    size: int, chunk: int, parts: int
) -> None:
    """S3: parts of 5 MiB or more, 10,000 at most."""
    assert chunk_size_for(size) == chunk
    assert -(-size // chunk) == parts
    assert -(-(100 * 1024 * GIB) // chunk_size_for(100 * 1024 * GIB)) <= 10_000


@pytest.mark.parametrize(
    ("new", "field"),
    [
        (NewUpload("t", "a.mp4", "video/mp4", 0), "fileSize"),
        (NewUpload("t", "a.mp4", "video/mp4", -5), "fileSize"),
        (NewUpload("t", "a.txt", "text/plain", 5), "mimeType"),
        (NewUpload("  ", "a.mp4", "video/mp4", 5), "title"),
        (NewUpload("t" * 501, "a.mp4", "video/mp4", 5), "title"),
        (NewUpload("a\0b", "a.mp4", "video/mp4", 5), "title"),
        (NewUpload("\ud800", "a.mp4", "video/mp4", 5), "title"),
        (NewUpload("t", "", "video/mp4", 5), "filename"),
        (NewUpload("t", "a.mp4", "video/mp4", 5, "d" * 5001), "description"),
        (NewUpload("t", "a.mp4", "video/mp4", 5, "a\0b"), "description"),
    ],
)
def test_a_bad_value_names_its_field_and_makes_nothing(
    scene: Scene, new: NewUpload, field: str
) -> None:
    """Bad input changes nothing."""
    with scene.sessions.begin() as session, pytest.raises(InvalidInputError) as refused:
        scene.uploads.begin(session, scene.user, new)
    (problem,) = refused.value.problems
    assert problem.field == field
    assert problem.fix
    assert scene.counts() == (0, 0, 0)


def test_more_than_one_gib_is_refused_by_the_rule(scene: Scene) -> None:
    """contracts.md, S3: maximum 1 GiB; exactly that is taken."""
    NewUpload("t", "a.mp4", "video/mp4", GIB).check()
    with pytest.raises(RuleRefusedError) as refused:
        NewUpload("t", "a.mp4", "video/mp4", GIB + 1).check()
    assert refused.value.problems[0].field == "fileSize"


def test_a_store_that_is_down_makes_no_rows(scene: Scene, dead_store: ObjectStore) -> None:
    """Nothing half done: no content without its upload."""
    with pytest.raises(DependencyDownError), scene.sessions.begin() as session:
        Uploads(dead_store, scene.clock).begin(
            session, scene.user, NewUpload("t", "a.mp4", "video/mp4", 5)
        )
    assert scene.counts() == (0, 0, 0)


def test_resuming_signs_only_what_is_missing(scene: Scene) -> None:
    """Where the store cannot list, what the client confirmed counts."""
    upload = scene.begin(17 * MIB)
    etags = scene.send(upload, bytes(17 * MIB), only={2})
    with scene.sessions.begin() as session:
        resumed = scene.uploads.resume(session, scene.user, upload.content_id)
    assert [chunk.number for chunk in resumed.chunk_urls] == [1, 3]
    assert [(p.number, p.etag, p.size) for p in resumed.parts] == [
        (2, etags[2].strip('"'), 8 * MIB)
    ]


def test_resuming_asks_the_store_where_it_can_list(
    scene: Scene, listing_store: ObjectStore
) -> None:
    """A part that arrived without the client's word is not asked for again."""
    listing = Scene(scene.sessions, listing_store, scene.clock, scene.user, scene.stranger)
    upload = listing.begin(17 * MIB)
    listing.send(upload, bytes(17 * MIB), only={1})
    listing.confirm(upload, 3, None)  # told, but never sent
    with scene.sessions.begin() as session:
        resumed = listing.uploads.resume(session, scene.user, upload.upload_id)
    assert [chunk.number for chunk in resumed.chunk_urls] == [2, 3]


def test_confirming_twice_keeps_the_last_word(scene: Scene) -> None:
    """A part may be sent again; an ETag once told is not forgotten by a bare repeat."""
    upload = scene.begin(5)
    scene.confirm(upload, 1, f'"{"a" * 32}"')
    scene.confirm(upload, 1, f'"{"b" * 32}"')
    scene.confirm(upload, 1, None)
    with scene.sessions.begin() as session:
        resumed = scene.uploads.resume(session, scene.user, upload.content_id)
    assert [part.etag for part in resumed.parts] == ["b" * 32]


@pytest.mark.parametrize(
    ("number", "etag", "field"),
    [(0, None, "partNumber"), (2, None, "partNumber"), (1, "no etag", "etag")],
)
def test_a_part_that_cannot_be_is_refused(
    scene: Scene, number: int, etag: str | None, field: str
) -> None:
    """Part numbers outside the upload, ETags that are none."""
    upload = scene.begin(5)
    with pytest.raises(InvalidInputError) as refused:
        scene.confirm(upload, number, etag)
    assert refused.value.problems[0].field == field
    assert scene.counts() == (1, 1, 0)


@pytest.mark.parametrize("wanted", ["unknown", "", "a\0b", "\ud800", "x" * 500])
def test_an_unknown_id_is_not_found_whatever_it_holds(scene: Scene, wanted: str) -> None:
    """No id reaches the database that it could not hold."""
    with scene.sessions.begin() as session, pytest.raises(NotFoundError):
        scene.uploads.resume(session, scene.user, wanted)


def test_a_strangers_upload_is_not_there(scene: Scene) -> None:
    """404 = not there or not yours: the two look alike, and nothing changes."""
    upload = scene.begin(5)
    for act in (
        lambda s: scene.uploads.resume(s, scene.stranger, upload.content_id),
        lambda s: scene.uploads.confirm_part(s, scene.stranger, upload.content_id, 1, None),
        lambda s: scene.uploads.abort(s, scene.stranger, upload.upload_id),
    ):
        with scene.sessions.begin() as session, pytest.raises(NotFoundError):
            act(session)
    with pytest.raises(NotFoundError):
        scene.completion.complete(scene.stranger, upload.content_id)
    assert scene.status(upload) == "open"
    assert scene.counts() == (1, 1, 0)


def test_aborting_leaves_no_content_and_is_safe_to_repeat(scene: Scene) -> None:
    """Parts and draft go, the session stays as the record; nothing more can be done with it."""
    upload = scene.begin(5)
    scene.confirm(upload, 1, None)
    for _ in range(2):
        with scene.sessions.begin() as session:
            assert scene.uploads.abort(session, scene.user, upload.content_id).status == "aborted"
    assert scene.counts() == (0, 1, 0)
    with pytest.raises(StateConflictError) as refused:
        scene.confirm(upload, 1, None)
    assert refused.value.state == "aborted"
    with pytest.raises(StateConflictError):
        scene.completion.complete(scene.user, upload.content_id)


def test_an_abort_that_the_store_did_not_hear_changes_nothing(
    scene: Scene, dead_store: ObjectStore
) -> None:
    """503: the upload stays open and can be aborted later."""
    upload = scene.begin(5)
    with pytest.raises(DependencyDownError), scene.sessions.begin() as session:
        Uploads(dead_store, scene.clock).abort(session, scene.user, upload.content_id)
    assert scene.status(upload) == "open"
    assert scene.content(upload) is not None


def test_an_upload_expires_after_a_day(scene: Scene) -> None:
    """Past its time it takes nothing more; the maintenance job then takes it away."""
    old = scene.begin(5)
    scene.clock.move_to(scene.clock.now() + timedelta(hours=24, seconds=1))
    young = scene.begin(5)
    with pytest.raises(StateConflictError) as refused:
        scene.confirm(old, 1, None)
    assert refused.value.state == "expired"
    with pytest.raises(StateConflictError):
        scene.completion.complete(scene.user, old.content_id)
    with scene.sessions.begin() as session:
        assert scene.uploads.expire_stale(session) == 1
    assert (scene.status(old), scene.status(young)) == ("expired", "open")
    assert scene.content(old) is None
