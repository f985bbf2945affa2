"""An object server that misbehaves on purpose: cuts answers short, or answers with a status."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FlakyServer:
    """What it serves and how: each GET takes the next of `cut_after` (bytes, then the line is cut)."""

    data: bytes
    cut_after: list[int] = field(default_factory=list)
    status: int = 206
    ranges: list[str] = field(default_factory=list)


@contextmanager
def flaky_s3(plan: FlakyServer) -> Iterator[str]:
    """Serve as planned; yields the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            plan.ranges.append(wanted)
            first, last = (int(text) for text in wanted.removeprefix("bytes=").split("-"))
            body = plan.data[first : last + 1] if plan.status in {200, 206} else b""
            self.send_response(plan.status)
            self.send_header("Content-Length", str(len(body)))
            if plan.status == 206:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(plan.data)}")
            if plan.status == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(body[: plan.cut_after.pop(0)] if plan.cut_after else body)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
