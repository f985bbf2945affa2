"""One request and one answer, as the platform modules see them: thin over raw ASGI."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
JsonObject = dict[str, Any]

SMALL_BODY_BYTES = 1_048_576


class DisconnectedError(Exception):
    """The peer hung up before its request was complete: nothing more of it will come."""


class BodyTooLargeError(Exception):
    """A body that should be small (JSON or a form) was not."""


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, complete."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json; charset=utf-8"


def json_reply(status: int, value: Any, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Answer `value` as JSON."""
    return Reply(status, json.dumps(value, separators=(",", ":")).encode(), headers)


@dataclass
class Call:
    """A request to one of the platforms, with what the faults decided about it.

    Attributes:
        path: The path below the platform's prefix, as the real host would see it.
        now_ms: When it arrived, epoch milliseconds on the sandbox's clock.
        as_of_ms: The instant whose truth status reads tell; earlier than `now_ms` for stale reads.
        slow_ms: Processing time to use in place of the default, if a fault asked for it.
        fail_code: How processing of what this call makes shall fail, if a fault asked for it.

    """

    method: str
    prefix: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    receive: Receive
    now_ms: int
    as_of_ms: int
    origin: str
    slow_ms: int | None = None
    fail_code: str | None = None
    account: str | None = None
    _body: bytes | None = field(default=None, repr=False)

    async def stream(self) -> AsyncIterator[bytes]:
        """Yield the body piece by piece; raises DisconnectedError if the peer hangs up."""
        if self._body is not None:
            yield self._body
            return
        more = True
        while more:
            message = await self.receive()
            if message["type"] != "http.request":
                raise DisconnectedError
            piece: bytes = message.get("body", b"")
            if piece:
                yield piece
            more = message.get("more_body", False)

    async def body(self, limit: int = SMALL_BODY_BYTES) -> bytes:
        """Return the whole body, which must be small (`limit` bytes)."""
        if self._body is None:
            pieces: list[bytes] = []
            size = 0
            async for piece in self.stream():
                size += len(piece)
                if size > limit:
                    raise BodyTooLargeError
                pieces.append(piece)
            self._body = b"".join(pieces)
        return self._body

    def read_so_far(self) -> bytes:
        """Return the body where it has been read whole, else nothing."""
        return self._body or b""

    def replace_body(self, body: bytes) -> None:
        """Hold the body in memory, for an effect that is applied after the connection is gone."""
        self._body = body

    async def form(self) -> dict[str, str]:
        """Return a urlencoded body's fields; empty when the body is of another type."""
        if not self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return {}
        text = (await self.body()).decode("utf-8", "replace")
        return dict(parse_qsl(text, keep_blank_values=True))

    async def json(self) -> JsonObject | None:
        """Return a JSON object body, `{}` for an empty one, None for anything else."""
        raw = await self.body()
        if not raw.strip():
            return {}
        try:
            value = json.loads(raw)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def bearer(self) -> str | None:
        """Return the access token of the Authorization header, if there is one."""
        value = self.headers.get("authorization", "")
        return value[7:].strip() if value[:7].lower() == "bearer " else None

    def whole_number_header(self, name: str) -> int | None:
        """Return a header that is a non-negative whole number, else None."""
        value = self.headers.get(name, "")
        return int(value) if value.isascii() and value.isdigit() else None


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True)
class Route:
    """What a request is, in the fault and call lists' words, and who answers it."""

    operation: str
    handler: Handler
