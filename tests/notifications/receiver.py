"""A webhook's receiver on loopback: a real HTTP server that answers as a test tells it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE_SECONDS = 20


@dataclass
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What came, in order. `answers` are statuses given in turn, the last one for ever."""

    url: str = ""
    answers: list[int] = field(default_factory=lambda: [204])
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None
    requests: list[Received] = field(default_factory=list)
    _came: threading.Condition = field(default_factory=threading.Condition)

    def take(self, request: Received) -> int:
        """Keep a request; return the status to answer."""
        with self._came:
            self.requests.append(request)
            self._came.notify_all()
            status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if self.hold is not None:
            self.hold.wait(PATIENCE_SECONDS)
        return status

    def wait_for(self, count: int) -> list[Received]:
        """Return what came, once `count` requests have."""
        with self._came:
            came = self._came.wait_for(lambda: len(self.requests) >= count, PATIENCE_SECONDS)
            assert came, f"only {len(self.requests)} requests came"
            return list(self.requests)


class _Server(ThreadingHTTPServer):
    """Many may knock at once."""

    request_queue_size = 128
    daemon_threads = True


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Serve a receiver; what it holds is let go at the end."""
    receiver = Receiver()
    server = _Server(("127.0.0.1", 0), _handler(lambda: receiver))
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook?key=sesame"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        if receiver.hold is not None:
            receiver.hold.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def _handler(of: Callable[[], Receiver]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the library's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            named = {name.lower(): value for name, value in self.headers.items()}
            receiver = of()
            status = receiver.take(Received(self.path, named, body))
            try:
                self.send_response(status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(receiver.body)))
                self.end_headers()
                self.wfile.write(receiver.body)
            except OSError:
                self.close_connection = True  # the sender has heard enough

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
