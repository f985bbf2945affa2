"""Completing an upload: verified, probed, judged; nothing half done."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx2
import pytest
from sqlalchemy import select, update

from minitik_dagster.api.schemas.webhooks import ReadyData
from minitik_dagster.db.tables import Event, UploadSession
from minitik_dagster.db.types import ContentStatus, Platform
from minitik_dagster.errors import (
    DependencyDownError,
    InvalidInputError,
    RuleRefusedError,
    StateConflictError,
)
from minitik_dagster.media.completion import Completion
from minitik_dagster.media.object_store import ObjectStore, StoredPart
from minitik_dagster.media.parts import MIB
from tests.media.scene import Scene, sha256
from tests.media.videos import make_video

VIDEO = make_video(seconds=4, seed=7)
# A free box behind the video: a valid file of three parts.
PADDED = VIDEO + (17 * MIB - len(VIDEO)).to_bytes(4, "big") + b"free"
LARGE = PADDED + bytes(17 * MIB - len(PADDED))


@pytest.fixture
def listing(scene: Scene, listing_store: ObjectStore) -> Scene:
    """The same people on a store that can list parts."""
    return Scene(scene.sessions, listing_store, scene.clock, scene.user, scene.stranger)


def test_a_real_video_becomes_a_content_with_facts_thumbnail_and_verdicts(scene: Scene) -> None:
    """Duration, dimensions and thumbnail are filled; each platform says its verdict."""
    upload = scene.begin(len(VIDEO))
    scene.send(upload, VIDEO)
    done = scene.completion.complete(scene.user, upload.content_id)
    assert {verdict.platform: verdict.accepted for verdict in done.verdicts} == dict.fromkeys(
        Platform, True
    )
    content = scene.content(upload)
    assert content is not None
    assert content.status is ContentStatus.DRAFT
    assert content.file_path == upload.key
    assert (content.file_size, content.mime_type, content.duration) == (len(VIDEO), "video/mp4", 4)
    assert content.details["width"] == 360
    assert content.details["height"] == 640
    assert content.details["sha256"] == sha256(VIDEO)
    assert content.details["fingerprint"] == f"sha256:{sha256(VIDEO)}"
    assert content.thumbnail_path == f"thumbnails/{scene.user}/{upload.content_id}/thumbnail.jpg"
    assert scene.store.read(content.thumbnail_path, 0, 3) == b"\xff\xd8\xff"
    assert httpx2.get(scene.store.presign_get(upload.key)).content == VIDEO
    assert scene.status(upload) == "completed"
    with scene.sessions() as session:
        told = session.scalars(select(Event)).one()
    ready = ReadyData.model_validate(told.data)
    assert (told.type, told.user_id) == ("content.ready", scene.user)
    assert (ready.content_id, ready.file_size) == (upload.content_id, str(len(VIDEO)))


def test_several_parts_become_one_file(scene: Scene) -> None:
    """Parts sent in any order; ETags may come with the completion alone."""
    upload = scene.begin(len(LARGE))
    etags = {}
    for chunk in reversed(upload.chunk_urls):
        start = upload.chunk_size * (chunk.number - 1)
        answer = httpx2.put(chunk.url, content=LARGE[start : start + chunk.length])
        etags[chunk.number] = answer.headers["ETag"]
    scene.completion.complete(scene.user, upload.upload_id, etags)
    assert httpx2.get(scene.store.presign_get(upload.key)).content == LARGE


def test_a_file_too_large_to_be_hashed_is_told_again_by_its_size_and_the_stores_digest(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes in the same parts have the same fingerprint, one changed byte another."""
    monkeypatch.setattr("minitik_dagster.media.probe.SHA256_UP_TO_BYTES", 1_000)

    def fingerprint(data: bytes) -> str | None:
        upload = scene.begin(len(data))
        scene.send(upload, data)
        facts = scene.completion.complete(scene.user, upload.content_id).facts
        assert facts.sha256 is None
        return facts.same_file

    first, again = fingerprint(LARGE), fingerprint(LARGE)
    assert first is not None
    assert first.startswith(f"s3:{len(LARGE)}:")
    assert again == first
    assert fingerprint(LARGE[:-1] + b"x") != first


def test_completing_again_answers_the_same(scene: Scene) -> None:
    """Idempotent; 409 when the repeat speaks of other parts."""
    upload = scene.begin(len(VIDEO))
    etags = scene.send(upload, VIDEO)
    first = scene.completion.complete(scene.user, upload.content_id, etags)
    again = scene.completion.complete(scene.user, upload.content_id, etags)
    assert (again.facts, again.verdicts) == (first.facts, first.verdicts)
    assert again.content.file_path == first.content.file_path
    with pytest.raises(StateConflictError) as refused:
        scene.completion.complete(scene.user, upload.content_id, {1: "0" * 32})
    assert refused.value.state == "completed"
    with scene.sessions.begin() as session, pytest.raises(StateConflictError):
        scene.uploads.abort(session, scene.user, upload.content_id)
    assert scene.content(upload) is not None


def test_a_missing_part_is_named_and_the_upload_stays_open(scene: Scene) -> None:
    """422 naming the part; after it is sent the completion succeeds."""
    upload = scene.begin(len(LARGE))
    scene.send(upload, LARGE, only={1, 3})
    with pytest.raises(RuleRefusedError) as refused:
        scene.completion.complete(scene.user, upload.content_id)
    assert [problem.field for problem in refused.value.problems] == ["parts[2]"]
    assert refused.value.problems[0].fix
    assert scene.status(upload) == "open"
    assert scene.store.head(upload.key) is None
    scene.send(upload, LARGE, only={2})
    scene.completion.complete(scene.user, upload.content_id)
    assert scene.status(upload) == "completed"


def test_a_store_that_lists_needs_no_word_of_the_client(listing: Scene) -> None:
    """contracts.md, S3: the client's ETag is optional and only compared."""
    upload = listing.begin(len(LARGE))
    for chunk in upload.chunk_urls:
        start = upload.chunk_size * (chunk.number - 1)
        httpx2.put(chunk.url, content=LARGE[start : start + chunk.length])
    listing.completion.complete(listing.user, upload.content_id)
    assert listing.status(upload) == "completed"


def test_listed_parts_are_held_against_plan_and_word(listing: Scene) -> None:
    """A part that is missing, one of another length, one with another ETag: each is named."""
    upload = listing.begin(len(LARGE))
    httpx2.put(upload.chunk_urls[0].url, content=LARGE[:100])
    httpx2.put(upload.chunk_urls[1].url, content=LARGE[8 * MIB : 16 * MIB])
    with pytest.raises(RuleRefusedError) as refused:
        listing.completion.complete(listing.user, upload.content_id, {2: "0" * 32})
    assert [problem.field for problem in refused.value.problems] == [
        "parts[1]",
        "parts[2].etag",
        "parts[3]",
    ]
    assert listing.status(upload) == "open"


def test_a_wrong_etag_is_refused_and_nothing_changes(scene: Scene) -> None:
    """The store compares it; the upload stays open and can be completed with the right one."""
    upload = scene.begin(len(VIDEO))
    etags = scene.send(upload, VIDEO)
    before = scene.counts()
    with pytest.raises(RuleRefusedError) as refused:
        scene.completion.complete(scene.user, upload.content_id, {1: "0" * 32})
    assert refused.value.problems[0].field == "parts[1]"
    assert refused.value.problems[0].fix
    assert scene.status(upload) == "open"
    assert scene.counts() == before
    scene.completion.complete(scene.user, upload.content_id, etags)


def test_etags_that_are_none_or_of_no_part_are_invalid(scene: Scene) -> None:
    """400 before anything is touched."""
    upload = scene.begin(len(VIDEO))
    scene.send(upload, VIDEO)
    for etags, field in (({1: "nonsense"}, "parts[1].etag"), ({9: "0" * 32}, "parts[9]")):
        with pytest.raises(InvalidInputError) as refused:
            scene.completion.complete(scene.user, upload.content_id, etags)
        assert refused.value.problems[0].field == field
    assert scene.status(upload) == "open"


def test_a_part_without_etag_is_asked_for_where_the_store_cannot_list(scene: Scene) -> None:
    """The fallback needs the client's ETags, and says how to give them."""
    upload = scene.begin(len(VIDEO))
    httpx2.put(upload.chunk_urls[0].url, content=VIDEO)
    scene.confirm(upload, 1, None)
    with pytest.raises(RuleRefusedError) as refused:
        scene.completion.complete(scene.user, upload.content_id)
    assert refused.value.problems[0].field == "parts[1].etag"
    assert "chunk/1" in refused.value.problems[0].fix


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"This is a text file named .mp4\n" * 40, "text", id="text named mp4"),
        pytest.param(VIDEO[: len(VIDEO) // 2], "cut short", id="half a video"),
    ],
)
def test_a_file_that_is_no_video_takes_the_upload_back(
    scene: Scene, data: bytes, message: str
) -> None:
    """422 with field and fix; no object, no content and no part is left, the record says aborted."""
    upload = scene.begin(len(data))
    scene.send(upload, data)
    with pytest.raises(RuleRefusedError) as refused:
        scene.completion.complete(scene.user, upload.content_id)
    (problem,) = refused.value.problems
    assert problem.field == "file"
    assert message in problem.message
    assert problem.fix
    assert scene.store.head(upload.key) is None
    assert scene.counts() == (0, 1, 0)
    assert scene.status(upload) == "aborted"


def test_another_size_than_announced_takes_the_upload_back(scene: Scene) -> None:
    """HEAD tells what the store holds; a 0-byte file that was announced as more is one case."""
    for sent in (b"", VIDEO + b"more"):
        upload = scene.begin(len(VIDEO))
        answer = httpx2.put(upload.chunk_urls[0].url, content=sent)
        with pytest.raises(RuleRefusedError) as refused:
            scene.completion.complete(scene.user, upload.content_id, {1: answer.headers["ETag"]})
        assert refused.value.problems[0].field == "fileSize"
        assert scene.content(upload) is None
        assert scene.store.head(upload.key) is None


def test_a_mov_announced_as_mp4_lies_under_its_true_name(scene: Scene) -> None:
    """contracts.md, S3: the extension is the sniffed type's; so are mimeType and key."""
    data = make_video(container="mov", seconds=4)
    upload = scene.begin(len(data))
    scene.send(upload, data)
    done = scene.completion.complete(scene.user, upload.content_id)
    assert done.content.mime_type == "video/quicktime"
    assert done.content.file_path == upload.key.removesuffix(".mp4") + ".mov"
    assert scene.store.head(upload.key) is None
    assert httpx2.get(scene.store.presign_get(done.content.file_path)).content == data


def test_a_store_that_is_down_leaves_the_upload_open(scene: Scene, dead_store: ObjectStore) -> None:
    """503, and the same request succeeds later."""
    upload = scene.begin(len(VIDEO))
    scene.send(upload, VIDEO)
    with pytest.raises(DependencyDownError):
        Completion(scene.sessions, dead_store, scene.clock).complete(scene.user, upload.content_id)
    assert scene.status(upload) == "open"
    scene.completion.complete(scene.user, upload.content_id)


def _set(scene: Scene, upload_id: str, **values: object) -> None:
    with scene.sessions.begin() as session:
        session.execute(update(UploadSession).where(UploadSession.id == upload_id).values(**values))


def test_a_completion_under_way_is_not_joined_but_taken_over_when_cut_off(scene: Scene) -> None:
    """409 while another works; after its lease, also when it had assembled the parts already."""
    upload = scene.begin(len(VIDEO))
    etags = scene.send(upload, VIDEO)
    _set(scene, upload.upload_id, status="completing", updated_at=scene.clock.now())
    with pytest.raises(StateConflictError) as refused:
        scene.completion.complete(scene.user, upload.content_id)
    assert refused.value.state == "completing"
    with scene.sessions.begin() as session, pytest.raises(StateConflictError):
        scene.uploads.abort(session, scene.user, upload.content_id)
    # The other was killed right after assembling.
    with scene.sessions() as session:
        row = session.get_one(UploadSession, upload.upload_id)
    scene.store.complete(row.s3_key, row.s3_upload_id, [StoredPart(1, etags[1].strip('"'))])
    scene.clock.move_to(scene.clock.now() + timedelta(minutes=5))
    done = scene.completion.complete(scene.user, upload.content_id)
    assert done.facts.sha256 == sha256(VIDEO)
    assert scene.status(upload) == "completed"


def test_an_upload_the_store_forgot_is_expired(listing: Scene) -> None:
    """A bucket's own rule dropped it: 409, and nothing is left of it."""
    upload = listing.begin(len(VIDEO))
    with listing.sessions() as session:
        row = session.get_one(UploadSession, upload.upload_id)
    listing.store.abort(row.s3_key, row.s3_upload_id)
    with listing.sessions.begin() as session, pytest.raises(StateConflictError):
        listing.uploads.resume(session, listing.user, upload.content_id)
    with pytest.raises(StateConflictError) as refused:
        listing.completion.complete(listing.user, upload.content_id)
    assert refused.value.state == "expired"
    assert (listing.status(upload), listing.content(upload)) == ("expired", None)


def test_a_claim_that_was_taken_over_writes_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who lost the upload while probing neither completes it nor takes it back."""
    upload = scene.begin(len(VIDEO))
    scene.send(upload, VIDEO)
    put = ObjectStore.put

    def taken_over_meanwhile(store: ObjectStore, key: str, body: bytes, kind: str) -> None:
        put(store, key, body, kind)
        later = scene.clock.now() + timedelta(minutes=6)
        _set(scene, upload.upload_id, status="completing", updated_at=later)

    monkeypatch.setattr(ObjectStore, "put", taken_over_meanwhile)
    with pytest.raises(StateConflictError):
        scene.completion.complete(scene.user, upload.content_id)
    content = scene.content(upload)
    assert content is not None
    assert content.file_path is None
    assert scene.status(upload) == "completing"


def test_of_two_completions_at_once_one_works(scene: Scene) -> None:
    """The other waits or is refused; the upload is completed once, with one answer."""
    upload = scene.begin(len(VIDEO))
    scene.send(upload, VIDEO)

    def complete() -> str:
        try:
            return scene.completion.complete(scene.user, upload.content_id).facts.sha256 or ""
        except StateConflictError as error:
            return error.state

    with ThreadPoolExecutor(4) as threads:
        answers = {future.result() for future in [threads.submit(complete) for _ in range(4)]}
    assert sha256(VIDEO) in answers
    assert answers <= {sha256(VIDEO), "completing"}
    assert scene.status(upload) == "completed"


def test_a_cut_off_completion_that_nobody_repeats_expires_with_its_object(scene: Scene) -> None:
    """The maintenance job takes back what a killed process left, once its day has passed."""
    upload = scene.begin(len(VIDEO))
    scene.send(upload, VIDEO)
    scene.store.put(upload.key, VIDEO, "video/mp4")
    _set(scene, upload.upload_id, status="completing", updated_at=scene.clock.now())
    for hours, expected in ((23, 0), (2, 1)):
        scene.clock.move_to(scene.clock.now() + timedelta(hours=hours))
        with scene.sessions.begin() as session:
            assert scene.uploads.expire_stale(session) == expected
    assert scene.clean().deleted == 4
    assert (scene.status(upload), scene.content(upload)) == ("expired", None)
    assert scene.store.head(upload.key) is None
