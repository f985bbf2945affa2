"""Embedded MongoDB protocol: NX-27017 over SQLite.

It does not enforce a real server's limits on time-series collections: tests guard those.
"""

import os
import sys

from minitik_dagster.local.ports import LOOPBACK
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.local.servers.base import EmbeddedServer


class MongoServer(EmbeddedServer):
    """A MongoDB wire server with one SQLite file per database in its folder."""

    name = "MongoDB"

    @property
    def url(self) -> str:
        """`mongodb://127.0.0.1:PORT/`."""
        return f"mongodb://{LOOPBACK}:{self.port}/"

    def _child_process(self) -> ChildProcess:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        # A pid file of a crashed run would refuse the next start: the folder has one owner anyway.
        pid_file = self.folder / "nx.pid"
        pid_file.unlink(missing_ok=True)
        return ChildProcess(
            self.name,
            [
                # Its console script's entry: as a module (-m) it warns of being imported twice.
                *(sys.executable, "-c", "from nx_27017.nx_27017 import main; main()"),
                *("--data-dir", str(data)),
                *("--host", LOOPBACK, "--port", str(self.port)),
                # Its output is our log already; unset, it would also write to a shared folder.
                *("--log-file", os.devnull),
                *("--pid-file", str(pid_file)),
            ],
            log=self.log,
            cwd=self.folder,
            grace_seconds=5.0,
        )
