"""uvicorn around the sandbox: one process, no access log, connections that can be cut."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from minitik_dagster.local.sandbox.app import CUT_EXTENSION, Sandbox
from minitik_dagster.local.sandbox.world import open_world

_KEEP_ALIVE_SECONDS: Final = 120
_BACKLOG: Final = 2048


class CuttableProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which also hands the application a way to cut the connection."""

    def on_message_begin(self) -> None:
        """Begin a request: its scope gains the function that aborts this transport."""
        super().on_message_begin()
        abort: Callable[[], None] = self.transport.abort
        self.scope["extensions"] = {CUT_EXTENSION: abort}  # type: ignore[dict-item]  # ASGI types values as dicts


def listen(host: str, port: int) -> socket.socket:
    """Bind the listening socket (`port` 0: any free one); raises OSError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


async def serve(
    listener: socket.socket,
    database: Path,
    announce: Callable[[str], None],
    hosts: frozenset[str],
) -> None:
    """Serve until SIGINT or SIGTERM; `announce` gets the base URL once requests are answered.

    `hosts` are the names it answers for.
    """
    address = listener.getsockname()
    host = f"[{address[0]}]" if listener.family == socket.AF_INET6 else address[0]
    server = uvicorn.Server(
        uvicorn.Config(
            Sandbox(open_world(database), hosts),
            http=CuttableProtocol,
            ws="none",
            lifespan="on",
            access_log=False,
            log_level="warning",
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=2,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
        )
    )
    serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
    # uvicorn has no event to wait for: its own `started` flag is all it offers.
    while not server.started and not serving.done():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    if server.started:
        announce(f"http://{host}:{address[1]}")
    await serving
