"""The API under a real uvicorn on loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn

from minitik_dagster.api.app import create_app
from minitik_dagster.local.ports import free_port
from minitik_dagster.settings import Settings


@contextmanager
def serving(settings: Settings, port: int | None = None) -> Iterator[httpx.Client]:
    """Serve the API in a thread; yield a client of it."""
    port = port or free_port()
    # As the local stack runs it: the application reads X-Forwarded-For itself.
    app = create_app(settings)
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, proxy_headers=False)
    server = uvicorn.Server(config)
    # In a thread it takes no signals, by which the application would know its server.
    app.state.exiting = lambda: server.should_exit
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            transport=httpx.HTTPTransport(retries=50),
            trust_env=False,
            timeout=20,
        ) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(10)
