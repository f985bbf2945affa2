"""Uploading a file through the HTTP API, going on where an earlier attempt was interrupted.

Written to be read by whoever writes an uploader of their own. The whole of it:

1. announce the file (title, name, type, size): an id, and a presigned URL for each part
2. PUT the parts to the storage, some at once; tell the API each part's ETag
3. complete: the API compares the parts, checks the video and answers with each platform's verdict

Interrupted anywhere? The id lies in a small file beside the video. With it the API says which parts have
arrived and signs fresh URLs for the others.
"""

import hashlib
import mimetypes
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx2

from minitik_dagster.client.api import ApiClient
from minitik_dagster.client.stagger import Stagger
from minitik_dagster.client.state import StateFile, UploadState, open_state, state_path
from minitik_dagster.errors import (
    DependencyDownError,
    FieldProblem,
    InvalidInputError,
    MinitikError,
    NotFoundError,
    RuleRefusedError,
    StateConflictError,
)

WORKERS: Final = 2
PIECE_BYTES: Final = 256 * 1024
_TYPES: Final = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime"}
_STORAGE_TIMEOUT: Final = httpx2.Timeout(30, read=120)
_PAUSES: Final = (1, 2, 4, 8, 16)
# A completion that was cut off on the server is given up there after 5 minutes.
_COMPLETING_PAUSES: Final = (*_PAUSES, *(15,) * 24)
_MD5: Final = re.compile(r"[0-9a-f]{32}")

Progress = Callable[[int, int], None]
"""Bytes that have arrived or are under way, and the file's size; called from several threads."""


@dataclass(frozen=True)
class Wish:
    """What is uploaded, and how it is called; `title` defaults to the file's name."""

    file: Path
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None

    def announced(self) -> dict[str, Any]:
        """The body that announces it. Raises InvalidInputError for a type that cannot be told."""
        suffix = self.file.suffix.lower()
        kind = self.mime_type or _TYPES.get(suffix) or mimetypes.guess_type(self.file.name)[0]
        if kind is None:
            raise InvalidInputError(
                FieldProblem(
                    "file",
                    f"{self.file.name!r} has no ending that tells its type.",
                    "Name it .mp4, .mov or .webm, or say --type.",
                )
            )
        body: dict[str, Any] = {
            "title": self.title or self.file.stem or self.file.name,
            "filename": self.file.name,
            "mimeType": kind,
            "fileSize": self.file.stat().st_size,
        }
        return body | ({"description": self.description} if self.description else {})


def upload(
    api: ApiClient,
    wish: Wish,
    *,
    workers: int = WORKERS,
    state: Path | None = None,
    restart: bool = False,
    progress: Progress = lambda _sent, _size: None,
) -> dict[str, Any]:
    """Upload a file and return the completed content, with each platform's verdict.

    What was interrupted before goes on; `restart` drops it instead. Raises InvalidInputError and
    RuleRefusedError as the API says, StateConflictError while another process uploads the file, and
    DependencyDownError for what a later attempt may mend.
    """
    with open_state(state or state_path(wish.file)) as kept:
        plan = _plan(api, wish, kept, restart=restart)
        # A plan that is None was sent whole: only its completion is missing.
        content_id = plan["contentId"] if isinstance(plan, dict) else plan
        if isinstance(plan, dict):
            with _Sending(api, wish.file, plan, workers, progress) as sending:
                sending.run()
        return _complete(api, content_id, kept)


def _plan(api: ApiClient, wish: Wish, kept: StateFile, *, restart: bool) -> dict[str, Any] | str:
    """Begin, or go on; an id alone where every part has arrived and completing was under way."""
    fresh = UploadState.of(api.url, wish.file)
    known = kept.read()
    if known is not None and restart:
        if known.content_id and known.api == api.url:
            with suppress(NotFoundError, StateConflictError):
                api.abort(known.content_id)
        known = None
    if known is not None and not known.is_of(fresh):
        raise StateConflictError(
            f"{kept.path} is of another server or of an earlier version of the file; "
            "--restart drops that upload and begins anew",
            state="changed",
        )
    if known is not None and (content_id := known.content_id) is not None:
        try:
            return api.resume(content_id)
        except NotFoundError:
            known = None
        except StateConflictError as conflict:
            if conflict.state in {"completing", "completed"}:
                return content_id
            known = None  # expired or aborted: nothing of it is left
    current = known or fresh
    kept.write(current)  # first: a beginning that is cut off is not begun twice
    begun = api.begin(wish.announced(), current.once)
    current.content_id = str(begun["contentId"])
    kept.write(current)
    return begun


def _complete(api: ApiClient, content_id: str, kept: StateFile) -> dict[str, Any]:
    """Complete it; wait for a completion that another, interrupted attempt has begun."""
    for pause in (*_COMPLETING_PAUSES, None):
        try:
            done = api.complete(content_id)
        except StateConflictError as conflict:
            if conflict.state != "completing" or pause is None:
                raise
            time.sleep(pause)
            continue
        except RuleRefusedError as refused:
            if not all(problem.field.startswith("parts") for problem in refused.problems):
                kept.forget()  # the file itself is refused: the API has taken the upload back
            raise
        kept.forget()
        return done
    raise AssertionError  # the last pause returns or raises


class _Sending:
    """Sends what is missing of one upload, `workers` parts at a time."""

    def __init__(
        self,
        api: ApiClient,
        file: Path,
        plan: Mapping[str, Any],
        workers: int,
        progress: Progress,
    ) -> None:
        self._api = api
        self._file = file.open("rb")
        self._content_id = str(plan["contentId"])
        self._chunk_size = int(plan["chunkSize"])
        self._size = file.stat().st_size
        self._urls = _urls(plan)
        self._lengths = {int(c["partNumber"]): int(c["length"]) for c in plan["chunkUrls"]}
        self._workers = workers
        self._stagger = Stagger(workers)
        self._lock = threading.Lock()
        self._sent = self._size - sum(self._lengths.values())
        self._progress = progress
        # Not the API's client: the key is none of the storage's business.
        self._storage = httpx2.Client(timeout=_STORAGE_TIMEOUT, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._storage.close()
        self._file.close()

    def run(self) -> None:
        """Send every part that is missing; the first failure ends all of it."""
        self._progress(self._sent, self._size)
        with ThreadPoolExecutor(self._workers) as threads:
            parts = [threads.submit(self._send, number) for number in sorted(self._lengths)]
            try:
                done, _ = wait(parts, return_when=FIRST_EXCEPTION)
            finally:  # also for Ctrl-C
                for part in parts:
                    part.cancel()
                self._stagger.stop()
        failures = [part.exception() for part in done if not part.cancelled()]
        # The one that ended the others says why.
        for failure in sorted(failures, key=lambda found: not isinstance(found, MinitikError)):
            if failure is not None:
                raise failure

    def _send(self, number: int) -> None:
        """Send one part and have it confirmed."""
        problem = ""
        for pause in (*_PAUSES, None):
            with self._stagger.flight(number):
                etag, problem = self._try(number)
                if etag is not None:
                    self._api.confirm(self._content_id, number, etag)
                    return
            if pause is not None:
                time.sleep(pause)
        raise DependencyDownError(
            "storage", f"part {number} was not taken: {problem}; run the same command again later"
        )

    def _try(self, number: int) -> tuple[str | None, str]:
        """PUT one part; return its ETag, or what went wrong."""
        counted = _Counted(self, number)
        url, length = self._url(number), self._lengths[number]
        try:
            answer = self._storage.put(
                url, content=counted.pieces(), headers={"Content-Length": str(length)}
            )
        except httpx2.TransportError as error:
            counted.take_back()
            return None, f"the storage does not answer ({type(error).__name__})"
        etag = answer.headers.get("ETag", "").strip('"')
        if answer.status_code != 200:
            counted.take_back()
            if answer.status_code == 403:  # the URL has expired: it lived for an hour
                self._renew()
            return None, f"the storage answered {answer.status_code}"
        # For parts encrypted as ours are, the ETag is the MD5 of what arrived.
        if _MD5.fullmatch(etag) and etag != counted.md5:
            counted.take_back()
            return None, "other bytes arrived than were sent"
        return etag, ""

    def _url(self, number: int) -> str:
        with self._lock:
            return self._urls[number]

    def _renew(self) -> None:
        fresh = _urls(self._api.resume(self._content_id))
        with self._lock:
            self._urls.update(fresh)

    def count(self, change: int) -> None:
        """Tell the progress."""
        with self._lock:
            self._sent += change
            self._progress(self._sent, self._size)

    def pieces(self, number: int) -> Iterator[bytes]:
        """Yield a part in pieces, each when the stagger lets it go."""
        start, length = self._chunk_size * (number - 1), self._lengths[number]
        for offset in range(0, length, PIECE_BYTES):
            wanted = min(PIECE_BYTES, length - offset)
            self._stagger.wait(number, (offset + wanted) / length)
            piece = os.pread(self._file.fileno(), wanted, start + offset)
            if len(piece) < wanted:
                raise StateConflictError("the file has become shorter meanwhile", state="changed")
            yield piece


class _Counted:
    """One attempt at a part: its digest, and how much of it the progress has seen."""

    def __init__(self, sending: _Sending, number: int) -> None:
        self._sending, self._number = sending, number
        self._digest = hashlib.md5(usedforsecurity=False)
        self._seen = 0

    @property
    def md5(self) -> str:
        """The digest of what was read."""
        return self._digest.hexdigest()

    def pieces(self) -> Iterator[bytes]:
        """Yield the part's pieces."""
        for piece in self._sending.pieces(self._number):
            self._digest.update(piece)
            yield piece
            self._seen += len(piece)
            self._sending.count(len(piece))

    def take_back(self) -> None:
        """The attempt failed: what it sent does not count."""
        self._sending.count(-self._seen)
        self._seen = 0


def _urls(plan: Mapping[str, Any]) -> dict[int, str]:
    chunks: Sequence[Mapping[str, Any]] = plan["chunkUrls"]
    return {int(chunk["partNumber"]): str(chunk["url"]) for chunk in chunks}
