"""Our side of the port, in memory and on disk; the platforms' side is the real sandbox over HTTP."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from minitik_dagster.errors import NotSentError, PlatformError
from minitik_dagster.platforms.port import Handle

_PIECE_BYTES = 256 * 1024
_LONGEST_SLEEP_SECONDS = 0.1


class FileMedia:
    """A file on disk; held ranges are copied beside it and must be used from there."""

    def __init__(self, path: Path, base_url: str, mime_type: str = "video/mp4") -> None:
        self.path = path
        self.mime_type = mime_type
        self.held: dict[tuple[int, int], Path] = {}
        self.lifetimes: list[timedelta] = []
        self._base_url = base_url

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    async def stream(self, start: int, length: int) -> AsyncIterator[bytes]:
        held = self.held.get((start, length))
        with (held or self.path).open("rb") as file:
            file.seek(0 if held else start)
            left = length
            while left > 0:
                piece = file.read(min(_PIECE_BYTES, left))
                assert piece, "the range ends before the file does"
                left -= len(piece)
                yield piece
                await asyncio.sleep(0)

    async def hold(self, start: int, length: int) -> None:
        path = self.path.with_suffix(f".{start}")
        with self.path.open("rb") as source, path.open("wb") as target:
            source.seek(start)
            target.write(source.read(length))
        self.held[start, length] = path

    def fetch_url(self, lifetime: timedelta) -> str:
        self.lifetimes.append(lifetime)
        return f"{self._base_url}/{self.path.name}"


@dataclass
class MemoryStep:
    """A ledger row as the client left it."""

    name: str
    outcome: str | None = None
    code: str = ""
    request_id: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    def answered(self, code: str, request_id: str | None = None, **detail: Any) -> None:
        self.code, self.request_id = code, request_id
        self.detail.update(detail)


class MemoryDesk:
    """A desk whose ledger is a list; sleeps are cut short, the sandbox's processing is fast."""

    def __init__(self, token: str) -> None:
        self.access_token = token
        self.steps: list[MemoryStep] = []
        self.handles: list[Handle] = []
        self.slept: list[timedelta] = []
        self.ahead = timedelta(0)

    async def token(self) -> SecretStr:
        return SecretStr(self.access_token)

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[MemoryStep]:
        record = MemoryStep(name)
        self.steps.append(record)
        try:
            yield record
        except PlatformError as error:
            record.outcome, record.code = error.outcome, error.code
            raise
        record.outcome = "ok"

    async def open_handle(
        self,
        *,
        external_id: str | None = None,
        secret: Mapping[str, SecretStr] | None = None,
        progress: Mapping[str, Any] | None = None,
        expires_at: datetime | None = None,
    ) -> Handle:
        handle = Handle(
            id=f"handle-{len(self.handles)}",
            revision=1,
            external_id=external_id,
            secret=secret or {},
            progress=progress or {},
            expires_at=expires_at,
        )
        self.handles.append(handle)
        return handle

    async def save_handle(self, handle: Handle) -> Handle:
        place = [one.id for one in self.handles].index(handle.id)
        self.handles[place] = replace(handle)
        return handle

    @property
    def handle(self) -> Handle:
        """The active handle, as the database would give it back after a crash."""
        return self.handles[-1]

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def sleep(self, duration: timedelta) -> None:
        self.slept.append(duration)
        await asyncio.sleep(min(duration.total_seconds(), _LONGEST_SLEEP_SECONDS))

    def names(self) -> list[str]:
        """The names of the steps taken."""
        return [step.name for step in self.steps]


class OpenGate:
    """Lets every commit pass and counts them."""

    def __init__(self) -> None:
        self.passed = 0

    def __call__(self) -> None:
        self.passed += 1


class ShutGate:
    """The send deadline has passed."""

    def __call__(self) -> None:
        raise NotSentError("the send deadline has passed", code="deadline")
