"""The engine behind a transaction-mode pooler, as operators of the old system run theirs.

PgBouncer's documentation, "Features": in transaction pooling no session state survives a transaction:
no prepared statements, no SET, no LISTEN, no session advisory locks.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from minitik_dagster.db.types import Platform
from minitik_dagster.local.ports import free_port
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.settings import Settings
from tests.publishing.running import all_at, run_until

pytestmark = [pytest.mark.slow, pytest.mark.pooler]
ALL = tuple(Platform)


@pytest.fixture
def pooled_url(database_url: str) -> Iterator[str]:
    """The test's database through PgBouncer: transaction mode, few server connections."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.fail("the tier pooler needs PgBouncer: apt-get install pgbouncer")
    server = make_url(database_url)
    folder = Path(tempfile.mkdtemp(prefix="minitik-pooler-"))
    folder.chmod(0o755)
    port = free_port()
    users = folder / "users.txt"
    users.write_text(f'"{server.username}" "{server.password}"\n')
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{server.database} = host={server.host} port={server.port}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = scram-sha-256\nauth_file = {users}\n"
        "pool_mode = transaction\ndefault_pool_size = 6\nmax_client_conn = 200\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
    child = ChildProcess(
        "PgBouncer",
        [program, *as_nobody, str(config)],
        log=folder / "pgbouncer.log",
        env=dict(os.environ),
        cwd=folder,
        grace_seconds=5.0,
    )
    child.start()
    url = server.set(port=port).render_as_string(hide_password=False)
    try:
        _wait_for(url)
        yield url + "?pgbouncer=true&connection_limit=10"
    finally:
        child.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(url: str) -> None:
    for _ in range(200):
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except (OSError, psycopg.OperationalError):
            time.sleep(0.05)
        else:
            return
    pytest.fail("PgBouncer did not begin to answer")


@pytest.fixture
def pooled_bench(
    engine_environment: dict[str, str],
    pooled_url: str,
    sandbox: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Workbench]:
    """A workbench whose DATABASE_URL is the pooler; no DIRECT_URL, so the engine polls."""
    for name, value in (engine_environment | {"DATABASE_URL": pooled_url}).items():
        monkeypatch.setenv(name, value)
    bench = Workbench(Settings(), sandbox)
    yield bench
    bench.close()


def test_posts_go_live_through_a_transaction_mode_pooler(pooled_bench: Workbench) -> None:
    """Three platforms, small and chunked files, at their instants."""
    accounts = [(pooled_bench.add_account(platform), platform) for platform in ALL]
    videos = [pooled_bench.add_video(size) for size in (300_000, 11_500_000)]
    due_at = pooled_bench.now() + timedelta(seconds=8)
    ids = pooled_bench.schedule_many([(video, accounts, due_at) for video in videos])
    run_until(pooled_bench, ids, all_at("live"), seconds=60)
    assert [len(pooled_bench.public_posts(video)) for video in videos] == [3, 3]
    for row in pooled_bench.rows(ids):
        assert row.committed_at is not None
        assert row.committed_at >= due_at


@pytest.mark.parametrize("platform", ALL)
def test_a_lost_answer_is_settled_through_the_pooler(
    pooled_bench: Workbench, platform: Platform
) -> None:
    """The ledger, the fence and the partial unique indexes need no session."""
    operation = {
        Platform.TIKTOK: "last_chunk",
        Platform.INSTAGRAM: "media_publish",
        Platform.YOUTUBE: "update",
    }[platform]
    account = pooled_bench.add_account(platform)
    video = pooled_bench.add_video()
    pooled_bench.sandbox.add_fault(
        platform=platform.value.lower(), operation=operation, kind="drop-after", count=1
    )
    ids = pooled_bench.schedule(
        video, [(account, platform)], pooled_bench.now() + timedelta(seconds=4)
    )
    run_until(pooled_bench, ids, all_at("live"), seconds=60)
    assert len(pooled_bench.public_posts(video)) == 1
