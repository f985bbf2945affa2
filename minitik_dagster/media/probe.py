"""Examining a video without trusting it: in a process of its own, with bounds on all it may take.

The file is read where it lies (S3 or a local path), only the ranges the demuxer asks for: probing a
file of 1 GiB moves a few MiB.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore, Event, Timer
from typing import IO, Any, Final

import minitik_dagster
from minitik_dagster.errors import FieldProblem, InvalidInputError
from minitik_dagster.media.facts import MIME_OF_CONTAINER, MediaFacts
from minitik_dagster.media.probe_worker import BLOCK, READ, REPLY, REPORT_HEAD, REQUEST
from minitik_dagster.media.sniff import FIRST_BYTES, NotAVideoError, sniff

PROBE_SECONDS: Final = 30.0
READ_BUDGET_BYTES: Final = 256 * 1024 * 1024
SHA256_UP_TO_BYTES: Final = 32 * 1024 * 1024
_MAX_REPORT_BYTES: Final = 64 * 1024
_MAX_THUMBNAIL_BYTES: Final = 4 * 1024 * 1024
_WORKER: Final = ("-P", "-m", "minitik_dagster.media.probe_worker")
# Each probe may take a core and 1.5 GB; more of them at once wait for their turn.
_TURNS: Final = BoundedSemaphore(2)

ReadRange = Callable[[int, int], bytes]
"""Offset and length to bytes; fewer only at the end. What it raises ends the probe and is passed on."""


@dataclass(frozen=True)
class Probe:
    """What was found, and a JPEG of a frame (empty where the frame is too large to decode)."""

    facts: MediaFacts
    thumbnail: bytes


def probe(
    read: ReadRange,
    size: int,
    *,
    timeout_seconds: float = PROBE_SECONDS,
    command: Sequence[str] = _WORKER,
) -> Probe:
    """Examine the file of `size` bytes that `read` serves.

    Raises InvalidInputError, naming field `file` and the fix, for a file that is empty, no video,
    damaged, or that cannot be examined within the bounds.
    """
    if size <= 0:
        raise _refused("the file is empty (0 bytes)", "Choose a video file that has content.")
    check_head(read(0, min(size, FIRST_BYTES)))  # most of what is no video costs no process
    with _TURNS:
        report, thumbnail = _run_worker(read, size, timeout_seconds, command)
    if "error" in report:
        raise _refused(*_explain(str(report["error"]), str(report.get("detail", ""))))
    return Probe(_facts(report, size, _digest(read, size)), thumbnail)


def check_head(head: bytes) -> None:
    """Raise InvalidInputError as `probe` does where a file's first bytes already say that it is no video."""
    try:
        sniff(head)
    except NotAVideoError as error:
        raise _refused(*_explain(error.code, error.detail)) from None


def _digest(read: ReadRange, size: int) -> str | None:
    """SHA-256 of a file small enough that reading it whole costs little."""
    if size > SHA256_UP_TO_BYTES:
        return None
    digest = hashlib.sha256()
    step = 4 * 1024 * 1024
    for offset in range(0, size, step):
        digest.update(read(offset, min(step, size - offset)))
    return digest.hexdigest()


def _run_worker(
    read: ReadRange, size: int, timeout_seconds: float, command: Sequence[str]
) -> tuple[dict[str, Any], bytes]:
    process = subprocess.Popen(  # noqa: S603 - our own module, no shell
        [sys.executable, *command, str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # No credential of ours is in its environment.
        env={"PYTHONPATH": str(Path(minitik_dagster.__file__).parents[1]), "LC_ALL": "C.UTF-8"},
        start_new_session=True,
    )
    timed_out = Event()

    def kill() -> None:
        timed_out.set()
        process.kill()

    # Killing it closes the pipes, which ends whichever read or write we wait in.
    watchdog = Timer(timeout_seconds, kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        requests, replies = _pipes(process)
        return _converse(read, size, requests, replies)
    except (EOFError, BrokenPipeError):
        reason = f"within {timeout_seconds:g} seconds" if timed_out.is_set() else "safely"
        raise _refused(
            f"the file cannot be examined {reason}: it is damaged or asks for too much",
            "Export the video again as MP4 (H.264, AAC).",
        ) from None
    finally:
        watchdog.cancel()
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        process.wait()


def _pipes(process: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdout, process.stdin


def _converse(
    read: ReadRange, size: int, requests: IO[bytes], replies: IO[bytes]
) -> tuple[dict[str, Any], bytes]:
    served = 0
    while True:
        kind = _exactly(requests, 1)
        if kind[0] == READ:
            _, offset, length = REQUEST.unpack(kind + _exactly(requests, REQUEST.size - 1))
            served += length
            if length > BLOCK or offset + length > size or served > READ_BUDGET_BYTES:
                raise EOFError
            data = read(offset, length)
            if len(data) != length:
                raise EOFError
            replies.write(REPLY.pack(length) + data)
            replies.flush()
            continue
        _, text_length, jpeg_length = REPORT_HEAD.unpack(
            kind + _exactly(requests, REPORT_HEAD.size - 1)
        )
        if text_length > _MAX_REPORT_BYTES or jpeg_length > _MAX_THUMBNAIL_BYTES:
            raise EOFError
        try:
            report = json.loads(_exactly(requests, text_length))
        except ValueError:
            raise EOFError from None
        return report, _exactly(requests, jpeg_length)


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data


def _facts(report: dict[str, Any], size: int, sha256: str | None) -> MediaFacts:
    try:
        return MediaFacts(
            mime_type=MIME_OF_CONTAINER[report["container"]], size=size, sha256=sha256, **report
        )
    except (KeyError, TypeError):
        raise _refused("the file cannot be examined", "Export the video again as MP4.") from None


def _explain(code: str, detail: str) -> tuple[str, str]:
    """Say a worker's code in plain words, with the fix."""
    export = "Export the video again as MP4 (H.264, AAC)."
    return {
        "not_a_video": (
            f"the file is not a video: it holds {detail}",
            "Upload an MP4, MOV or WebM video; renaming a file does not change what it is.",
        ),
        "container": (f"the file is {detail}, which is not taken here", export),
        "no_video_stream": (f"the file has no video stream ({detail})", "Upload a video file."),
        "no_index": (
            "the file has no index (moov): its recording or its upload was cut short",
            "Record or export the video again.",
        ),
        "codec": ("the video's codec is not known", export),
        "cut_short": (f"the file is cut short: {detail}", "Upload the whole file again."),
        "references": ("the file refers to other files", "Export it self-contained, as MP4."),
        "undecodable": ("no frame of the video can be decoded", export),
        "too_demanding": ("examining the file takes more memory than allowed", export),
    }.get(code, ("the video is damaged: it cannot be read", export))


def _refused(message: str, fix: str) -> InvalidInputError:
    return InvalidInputError(FieldProblem("file", message, fix))
