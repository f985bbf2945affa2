"""The embedded servers start, keep their data, survive crashes and leave nothing behind."""

import os
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pymongo
import pytest
import redis

from minitik_dagster.local.errors import LocalStackError, PortTakenError
from minitik_dagster.local.ports import free_port, port_is_free, something_listens
from minitik_dagster.local.servers.base import EmbeddedServer
from minitik_dagster.local.servers.mongo import MongoServer
from minitik_dagster.local.servers.postgres import PostgresServer
from minitik_dagster.local.servers.redis import RedisServer
from minitik_dagster.local.servers.s3 import S3Server

PASSWORD = "only-for-this-test"


def make_postgres(folder: Path, port: int = 0, *, durable: bool = False) -> PostgresServer:
    return PostgresServer(folder, password=PASSWORD, port=port, durable=durable)


MAKERS: dict[str, Callable[[Path, int], EmbeddedServer]] = {
    "postgres": make_postgres,
    "redis": lambda folder, port: RedisServer(folder, port=port),
    "mongo": lambda folder, port: MongoServer(folder, port=port),
    "s3": lambda folder, port: S3Server(folder, port=port),
}


@pytest.fixture
def long_folder(servers_folder: Path) -> Path:
    """A folder whose path holds a space and is far beyond a unix socket's 107 bytes."""
    folder = servers_folder / f"a folder with spaces {secrets.token_hex(4)}" / ("x" * 120)
    folder.mkdir(parents=True)
    assert len(str(folder)) > 150
    return folder


def eventually(holds: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("kind", MAKERS)
def test_a_server_starts_in_any_folder_and_stops_for_good(kind: str, long_folder: Path) -> None:
    """A long path with a space is no obstacle, and after stop() nobody listens."""
    server = MAKERS[kind](long_folder / kind, 0)
    server.start()
    assert something_listens(server.port)
    server.stop()
    assert not something_listens(server.port)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_taken_port_is_named_in_one_line(kind: str, servers_folder: Path) -> None:
    """A fixed port that is in use is an error that names the port and the server."""
    with S3Server(servers_folder / "holder") as holder:
        server = MAKERS[kind](servers_folder / f"taken-{kind}", holder.port)
        with pytest.raises(PortTakenError) as caught:
            server.start()
    text = str(caught.value)
    assert str(holder.port) in text
    assert server.name in text
    assert "\n" not in text


def test_postgres_keeps_committed_rows_through_a_crash(long_folder: Path) -> None:
    """After `kill -9` the stale pid file is no obstacle and committed rows are there."""
    server = make_postgres(long_folder / "pg", durable=True)
    server.start()
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (id int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    server.kill()
    with make_postgres(long_folder / "pg") as again, psycopg.connect(again.url) as connection:
        assert connection.execute("SELECT id FROM kept").fetchall() == [(7,)]


def test_a_pid_file_that_names_a_stranger_is_no_obstacle(long_folder: Path) -> None:
    """After a reboot the number in postmaster.pid may be any process's: here it is our own."""
    server = make_postgres(long_folder / "pg")
    server.start()
    pid_file = long_folder / "pg" / "data" / "postmaster.pid"
    text = pid_file.read_text()
    server.kill()
    pid_file.write_text("\n".join([str(os.getpid()), *text.splitlines()[1:]]) + "\n")
    with server:
        assert something_listens(server.port)


def test_a_server_that_outlived_its_supervisor_is_ended_first(long_folder: Path) -> None:
    """Two servers on one data folder would destroy it: the orphan is stopped before a start."""
    orphan = make_postgres(long_folder / "pg")
    orphan.start()
    with make_postgres(long_folder / "pg") as server:
        assert something_listens(server.port)
        assert not something_listens(orphan.port)
    orphan.stop()


def test_a_wrong_password_says_so(long_folder: Path) -> None:
    """Data kept while its password was lost: one line with the way out, not a time-out."""
    make_postgres(long_folder / "pg").__enter__().stop()
    other = PostgresServer(long_folder / "pg", password="another", durable=False)
    with pytest.raises(LocalStackError, match=r"password in secrets\.env"):
        other.start()
    assert not something_listens(other.port)


def test_postgres_runs_in_the_zone_that_was_asked_for(postgres_server: PostgresServer) -> None:
    """The suite's server lives in Asia/Kathmandu, so no query may lean on the server's zone."""
    with psycopg.connect(postgres_server.url) as connection:
        assert connection.execute("SHOW timezone").fetchone() == ("Asia/Kathmandu",)


def test_redis_keeps_its_keys_over_a_restart(long_folder: Path) -> None:
    """A breaker's state must not be forgotten because the stack was restarted."""
    server = RedisServer(long_folder / "redis")
    with server, redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")
    with server, redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"yes"


def test_mongo_keeps_its_documents_over_a_crash(long_folder: Path) -> None:
    """Documents acknowledged before a `kill -9` are there after it."""
    server = MongoServer(long_folder / "mongo")
    server.start()
    with pymongo.MongoClient[dict[str, int]](server.url) as client:
        client["kept"]["things"].insert_one({"n": 7})
    server.kill()
    with server, pymongo.MongoClient[dict[str, int]](server.url) as client:
        found = client["kept"]["things"].find_one({"n": 7})
    assert found is not None


def test_a_bucket_may_be_asked_for_twice(s3_server: S3Server) -> None:
    """The second start of a stack finds its bucket and is content."""
    s3_server.create_bucket("twice")
    s3_server.create_bucket("twice")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_servers_end_with_their_parent_however_it_ends(
    servers_folder: Path, number: signal.Signals
) -> None:
    """`kill -9` of the program that started servers leaves none of them behind."""
    program = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from minitik_dagster.local.servers.postgres import PostgresServer
        from minitik_dagster.local.servers.redis import RedisServer
        folder = Path(sys.argv[1])
        servers = [PostgresServer(folder / "pg", password="p"), RedisServer(folder / "redis")]
        for server in servers:
            server.start()
        print(*[server.child.pid for server in servers], flush=True)
        time.sleep(60)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(servers_folder / f"orphans-{int(number)}")],
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.send_signal(number)
    assert eventually(lambda: not any(alive(pid) for pid in pids))


def alive(pid: int) -> bool:
    """A zombie that its new parent has not reaped yet counts as ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_free_port_is_free() -> None:
    """Ports that are handed out can be bound, and those to avoid are avoided."""
    taken: frozenset[int] = frozenset()
    for _ in range(20):
        port = free_port(taken=taken)
        assert port not in taken
        assert port_is_free(port)
        taken |= {port}


def test_presigned_urls_do_not_reach_the_log(servers_folder: Path) -> None:
    """The query of a presigned URL is a credential, in a development server's log too."""
    import http.client

    with S3Server(servers_folder / "s3-log") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/bucket/key?X-Amz-Signature=planted")
        connection.getresponse().read()
        connection.close()
        assert eventually(lambda: "/bucket/key" in server.log.read_text())
        assert "planted" not in server.log.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands a folder to another user")
def test_only_missing_search_bits_are_added_above_the_data(servers_folder: Path) -> None:
    """Under root the way to the data is opened for traversal, not for listing, and reported."""
    closed = servers_folder / "closed"
    closed.mkdir(mode=0o700)
    with make_postgres(closed / "pg") as server:
        assert closed in server.opened_folders
    assert closed.stat().st_mode & 0o777 == 0o701
    with make_postgres(closed / "pg") as server:
        assert server.opened_folders == []
