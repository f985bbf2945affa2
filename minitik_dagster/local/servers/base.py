"""What the embedded servers share: a name, a folder, a port, start, stop."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Self

import minitik_dagster
from minitik_dagster.local.errors import PartDiedError, PortTakenError
from minitik_dagster.local.ports import free_port, port_is_free, something_listens
from minitik_dagster.local.process import ChildProcess

_PORT_TRIES = 3


def program_environment() -> dict[str, str]:
    """Our own environment, in which `python -m minitik_dagster…` works from any folder."""
    source = str(Path(minitik_dagster.__file__).parent.parent)
    path = [source, *(part for part in os.environ.get("PYTHONPATH", "").split(":") if part)]
    return os.environ | {"PYTHONPATH": ":".join(dict.fromkeys(path)), "PYTHONUNBUFFERED": "1"}


class EmbeddedServer(ABC):
    """A server process on 127.0.0.1 with its data in one folder.

    `port` 0 means any free one, chosen at each start. `log` is the file its output goes to.
    Used as a context manager it is started and stopped with the block.
    """

    name: str
    start_timeout_seconds: float = 30.0

    def __init__(self, folder: Path, *, port: int = 0, log: Path | None = None) -> None:
        # The servers run in other working folders: a relative path would mean another place there.
        self.folder = folder.absolute()
        self.log = log.absolute() if log is not None else self.folder / f"{self.name.lower()}.log"
        self._wanted_port = port
        self.port = port
        self._child: ChildProcess | None = None
        self.cancelled: Callable[[], bool] = lambda: False

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients reach it; holds its password where it has one."""

    @abstractmethod
    def _child_process(self) -> ChildProcess:
        """The process for the present `port` and `folder`, not yet started."""

    def _prepare(self) -> None:
        """Make ready what the process needs, before each start."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def answers(self) -> bool:
        """Whether it serves requests (asked again and again while waiting)."""
        return something_listens(self.port)

    def launch(self) -> None:
        """Start the process without waiting for it to answer.

        Raises PortTakenError when a fixed port is not free.
        """
        if self._child is not None and self._child.is_running():
            return
        if self._wanted_port and not port_is_free(self._wanted_port):
            raise PortTakenError(self.name, self._wanted_port)
        self.port = self._wanted_port or free_port()
        self._prepare()
        self._child = self._child_process()
        self._child.start()

    def relaunch(self) -> ChildProcess:
        """Start it again after a death, without waiting, and return its new process.

        What its group left is ended first: two servers must not share a folder. Raises PortTakenError.
        """
        self.stop()
        self.launch()
        return self._started_child()

    def wait(self) -> None:
        """Wait until it answers.

        Raises PartDiedError or NotReadyError, which name the server and its log file.
        """
        for attempt in range(1, _PORT_TRIES + 1):
            child = self._started_child()
            try:
                child.wait_until(
                    self.answers,
                    timeout_seconds=self.start_timeout_seconds,
                    cancelled=self.cancelled,
                )
                break
            except PartDiedError:
                child.stop()
                # Somebody may have taken the free port between its choice and its use.
                if self._wanted_port or attempt == _PORT_TRIES or port_is_free(self.port):
                    raise
                self.launch()

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        try:
            self.wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it; its data stays. Safe to call twice."""
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        self._started_child().kill()

    @property
    def child(self) -> ChildProcess | None:
        """The running process, for whoever watches it."""
        return self._child

    def _started_child(self) -> ChildProcess:
        if self._child is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._child

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
