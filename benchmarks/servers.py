"""Servers and machine facts for the benchmarks: everything is started here and ended with the block."""

import contextlib
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minitik_dagster.db.migrate import upgrade
from minitik_dagster.local.ports import free_port
from minitik_dagster.local.process import GUARD, ChildProcess
from minitik_dagster.local.servers.postgres import PostgresServer
from minitik_dagster.local.servers.redis import RedisServer
from minitik_dagster.local.servers.s3 import S3Server
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.settings import Settings

_DATABASE, _BUCKET = "minitik", "bench"


@dataclass(frozen=True)
class Ground:
    """What a benchmark stands on: a migrated database, a bucket, the sandbox, and their environment."""

    bench: Workbench
    environment: Mapping[str, str]
    folder: Path
    postgres: PostgresServer
    redis: RedisServer

    def dispatcher(self, name: str = "dispatcher") -> ChildProcess:
        """`minitik dispatcher`, not started; its log lies in the ground's folder."""
        return self.program(name, "minitik", "dispatcher")

    def program(self, name: str, *argv: str, **environment: str) -> ChildProcess:
        """Return one of the environment's own programs with the ground's environment, not started."""
        return ChildProcess(
            name,
            [str(Path(sys.executable).with_name(argv[0])), *argv[1:]],
            log=self.folder / f"{name}.log",
            env={**_inherited(), **self.environment, **environment},
            cwd=self.folder,
            grace_seconds=60,
        )


@contextlib.contextmanager
def ground(**settings: str) -> Iterator[Ground]:
    """Start PostgreSQL (durable, as in production), Redis, S3 and the sandbox in a temporary folder."""
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    folder = Path(tempfile.mkdtemp(prefix="minitik-bench-"))
    GUARD.remove_at_end(folder)
    with contextlib.ExitStack() as stack:
        # Ports of their own: a server that is stopped and started again is found where it was.
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres = stack.enter_context(
            PostgresServer(folder / "postgres", password=secrets.token_hex(8), port=free_port())
        )
        redis = stack.enter_context(RedisServer(folder / "redis", port=free_port(), persist=False))
        s3 = stack.enter_context(S3Server(folder / "s3"))
        sandbox = stack.enter_context(SandboxServer(folder / "sandbox"))
        postgres.create_database(_DATABASE)
        upgrade(postgres.database_url(_DATABASE), world="sandbox")
        s3.create_bucket(_BUCKET)
        environment = {
            "DATABASE_URL": postgres.database_url(_DATABASE),
            "REDIS_URL": redis.url,
            "AWS_ENDPOINT_URL_S3": s3.url,
            "AWS_S3_BUCKET": _BUCKET,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_EC2_METADATA_DISABLED": "true",
            "ENCRYPTION_KEY": secrets.token_hex(32),
            "MINITIK_HOME": str(folder / "home"),
            **sandbox.environment,
            **settings,
        }
        os.environ.update(environment)
        bench = Workbench(Settings(), sandbox)
        stack.callback(bench.close)
        yield Ground(bench, environment, folder, postgres, redis)


def machine() -> dict[str, Any]:
    """Cores, memory and the present load: figures mean nothing without them."""
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(pages * page / 2**30, 1),
        "load_1_5_15_min": load(),
        "python": sys.version.split()[0],
    }


def load() -> list[float]:
    """The machine's load averages of the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
