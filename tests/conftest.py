"""Real servers for every test that asks for one: each worker starts its own, at the first need.

PostgreSQL's TimeZone is Asia/Kathmandu, so that no query may lean on the server's zone. All of them
are on loopback and end with the test run, however it ends.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest
import redis
from xdist.remote import Producer

from minitik_dagster.db.migrate import upgrade
from minitik_dagster.local.process import GUARD
from minitik_dagster.local.servers.mongo import MongoServer
from minitik_dagster.local.servers.postgres import PostgresServer
from minitik_dagster.local.servers.redis import RedisServer
from minitik_dagster.local.servers.s3 import S3Server
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.settings import Settings
from tests import mongo_guard
from tests.databases import TestDatabases
from tests.spread import GroupScheduling

TEMPLATE_DATABASE = "minitik_template"
TEST_TIME_ZONE = "Asia/Kathmandu"


def pytest_configure(config: pytest.Config) -> None:
    """Forget the desk's own configuration: no test may reach a server it did not start."""
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    # The embedded S3 does not check credentials, but boto3 must have some to sign with.
    os.environ["AWS_ACCESS_KEY_ID"] = "test"
    os.environ["AWS_SECRET_ACCESS_KEY"] = "test"
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling | None:
    """With `--dist loadgroup`, tests that share a stack run on one worker."""
    return GroupScheduling(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.fixture(autouse=True)
def time_series_guard() -> Iterator[None]:
    """No test passes whose code did what a real MongoDB refuses in a time-series collection."""
    mongo_guard.violations.clear()
    yield
    assert not mongo_guard.violations


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """The data folder of this worker's servers, gone after the run.

    Not pytest's own temporary folder: that is closed to the user PostgreSQL runs as under root.
    """
    folder = Path(tempfile.mkdtemp(prefix="minitik-tests-"))
    GUARD.remove_at_end(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(servers_folder: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL server of this worker's own."""
    with PostgresServer(
        servers_folder / "postgres",
        password=secrets.token_hex(8),
        time_zone=TEST_TIME_ZONE,
        durable=False,
    ) as server:
        yield server


@pytest.fixture(scope="session")
def template_database(postgres_server: PostgresServer) -> str:
    """The name of a database at the newest schema, stamped `sandbox`; tests get copies of it."""
    postgres_server.create_database(TEMPLATE_DATABASE)
    upgrade(postgres_server.database_url(TEMPLATE_DATABASE), world="sandbox")
    return TEMPLATE_DATABASE


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer, template_database: str) -> TestDatabases:
    """The worker's databases at the newest schema."""
    return TestDatabases(postgres_server, template_database)


@pytest.fixture
def database_url(postgres_server: PostgresServer, databases: TestDatabases) -> Iterator[str]:
    """A database at the newest schema, as new."""
    name = databases.take()
    yield postgres_server.database_url(name)
    databases.give_back(name)


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A fresh database without any schema."""
    name = f"empty_{secrets.token_hex(6)}"
    postgres_server.create_database(name)
    yield postgres_server.database_url(name)
    postgres_server.drop_database(name)


@pytest.fixture(scope="session")
def redis_server(servers_folder: Path) -> Iterator[RedisServer]:
    """A Redis server of this worker's own."""
    with RedisServer(servers_folder / "redis", persist=False) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty Redis."""
    client = redis.Redis.from_url(redis_server.url)
    try:
        client.flushall()
    finally:
        client.close()
    return redis_server.url


@pytest.fixture(scope="session")
def mongo_server(servers_folder: Path) -> Iterator[mongo_guard.Guard]:
    """A MongoDB server of this worker's own, and what refuses what a real one does before it."""
    with MongoServer(servers_folder / "mongo") as server, mongo_guard.guard(server.port) as guard:
        yield guard


@pytest.fixture
def mongodb_name() -> str:
    """The name of this test's own MongoDB database."""
    return f"test_{secrets.token_hex(6)}"


@pytest.fixture
def mongodb_uri(mongo_server: mongo_guard.Guard, mongodb_name: str) -> Iterator[str]:
    """A URI whose default database is this test's own and empty."""
    yield f"{mongo_server.url}{mongodb_name}"
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(mongo_server.url)
    try:
        client.drop_database(mongodb_name)
    finally:
        client.close()


@pytest.fixture(scope="session")
def s3_server(servers_folder: Path) -> Iterator[S3Server]:
    """An S3 server of this worker's own."""
    with S3Server(servers_folder / "s3") as server:
        yield server


@pytest.fixture
def s3_endpoint(s3_server: S3Server) -> str:
    """The endpoint's URL (path-style)."""
    return s3_server.url


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> str:
    """The name of this test's own empty bucket."""
    bucket = f"test-{secrets.token_hex(6)}"
    s3_server.create_bucket(bucket)
    return bucket


@pytest.fixture(scope="session")
def sandbox_server(servers_folder: Path) -> Iterator[SandboxServer]:
    """The platform sandbox, a process of this worker's own."""
    with SandboxServer(servers_folder / "sandbox") as server:
        yield server


@pytest.fixture
def sandbox(sandbox_server: SandboxServer) -> SandboxServer:
    """The platform sandbox without faults and with an empty call list; make accounts of your own."""
    sandbox_server.reset()
    return sandbox_server
