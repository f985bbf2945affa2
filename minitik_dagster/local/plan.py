"""What a stack consists of: which servers are missing, on which ports, with which environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minitik_dagster.local.data_folder import DataFolder
from minitik_dagster.local.environment import PlatformHosts, child_environment, sandbox_variables
from minitik_dagster.local.errors import PortTakenError
from minitik_dagster.local.ports import LOOPBACK, free_port, port_is_free
from minitik_dagster.local.secrets_file import DATABASE_PASSWORD
from minitik_dagster.local.servers.base import EmbeddedServer
from minitik_dagster.local.servers.mongo import MongoServer
from minitik_dagster.local.servers.postgres import PostgresServer
from minitik_dagster.local.servers.redis import RedisServer
from minitik_dagster.local.servers.s3 import S3Server
from minitik_dagster.local.servers.sandbox import SandboxServer

BUCKET = "minitik"
DEMO_EMAIL = "demo@example.com"


@dataclass(frozen=True)
class StackOptions:
    """What the caller chose. Ports: 0 = any free one. `demo` None = only on our own database."""

    data_dir: Path
    api_port: int = 0
    dagster_port: int = 0
    sandbox_port: int = 0
    demo: bool | None = None


@dataclass(frozen=True)
class Plan:
    """The parts of one stack. `environment` is what every process of it gets."""

    api_port: int
    web_port: int
    code_port: int
    postgres: PostgresServer | None
    redis: RedisServer | None
    mongo: MongoServer | None
    s3: S3Server | None
    sandbox: SandboxServer | None
    environment: dict[str, str]
    own_database: bool
    seeds: bool

    @property
    def servers(self) -> list[EmbeddedServer]:
        """The servers to start, in the order in which they are waited for."""
        found = (self.postgres, self.sandbox, self.redis, self.mongo, self.s3)
        return [server for server in found if server is not None]


class _Ports:
    """Hands out ports that differ from each other."""

    def __init__(self) -> None:
        self._taken: set[int] = set()

    def take(self, part: str, wanted: int = 0, option: str | None = None) -> int:
        if wanted and (not port_is_free(wanted) or wanted in self._taken):
            raise PortTakenError(part, wanted, option)
        port = wanted or free_port(taken=frozenset(self._taken))
        self._taken.add(port)
        return port


def make_plan(
    options: StackOptions,
    environ: Mapping[str, str],
    folder: DataFolder,
    secrets: Mapping[str, str],
) -> Plan:
    """Plan a server for each thing `environ` does not configure; nothing is started yet.

    Raises PortTakenError for a port that was asked for and is not free.
    """
    given = {name: value for name, value in environ.items() if value}
    ports = _Ports()
    api_port = ports.take("the API", options.api_port, "--port")
    web_port = ports.take("the Dagster web UI", options.dagster_port, "--dagster-port")
    code_port = ports.take("the code server")
    home, log = folder.path, folder.log

    own_database = "DATABASE_URL" not in given
    postgres = redis = mongo = s3 = sandbox = None
    variables: dict[str, str] = {}
    if own_database or "DAGSTER_POSTGRES_URL" not in given:
        postgres = PostgresServer(
            home / "postgres",
            password=secrets[DATABASE_PASSWORD],
            port=ports.take("PostgreSQL"),
            log=log("postgres"),
        )
        if own_database:
            variables["DATABASE_URL"] = postgres.database_url("minitik")
        if "DAGSTER_POSTGRES_URL" not in given:
            variables["DAGSTER_POSTGRES_URL"] = postgres.database_url("dagster")
    if "REDIS_URL" not in given:
        redis = RedisServer(home / "redis", port=ports.take("Redis"), log=log("redis"))
        variables["REDIS_URL"] = redis.url
    if "MONGODB_URI" not in given:
        mongo = MongoServer(home / "mongo", port=ports.take("MongoDB"), log=log("mongo"))
        variables["MONGODB_URI"] = mongo.url
    if "AWS_S3_BUCKET" not in given and "AWS_ENDPOINT_URL_S3" not in given:
        s3 = S3Server(home / "s3", port=ports.take("S3"), log=log("s3"))
        variables["AWS_ENDPOINT_URL_S3"] = s3.url
    variables["AWS_S3_BUCKET"] = given.get("AWS_S3_BUCKET", BUCKET)

    hosts = PlatformHosts.read(given)
    wants_demo = options.demo if options.demo is not None else own_database
    if wants_demo and hosts.all_loopback and not hosts.all_set:
        sandbox_port = ports.take("the sandbox", options.sandbox_port, "--sandbox-port")
        sandbox = SandboxServer(home / "sandbox", port=sandbox_port, log=log("sandbox"))
        variables |= sandbox_variables(given, sandbox.url)
    # Without a sandbox the demo user needs another loopback server that plays the platforms.
    seeds = wants_demo and hosts.all_loopback and (sandbox is not None or hosts.all_set)
    return Plan(
        api_port=api_port,
        web_port=web_port,
        code_port=code_port,
        postgres=postgres,
        redis=redis,
        mongo=mongo,
        s3=s3,
        sandbox=sandbox,
        own_database=own_database,
        seeds=seeds,
        environment=child_environment(
            given,
            data_dir=home,
            dagster_home=folder.dagster_home,
            secrets=secrets,
            api_url=f"http://{LOOPBACK}:{api_port}",
            code_server_port=code_port,
            servers=variables,
            embedded_s3=s3 is not None,
            admin_email=DEMO_EMAIL if seeds else None,
        ),
    )
