"""The local stack: starts its parts in order, waits for each in words, stops them all."""

import os
import sys
import time
from collections.abc import Mapping, Sequence

from minitik_dagster.local import probes
from minitik_dagster.local.dagster_home import prepare_dagster_home
from minitik_dagster.local.data_folder import DataFolder
from minitik_dagster.local.dead_runs import find_dead_runs
from minitik_dagster.local.endpoints import Endpoints
from minitik_dagster.local.environment import control_url
from minitik_dagster.local.plan import Plan, StackOptions, make_plan
from minitik_dagster.local.ports import LOOPBACK, something_listens
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.local.secrets_file import load_or_make_secrets
from minitik_dagster.local.servers.base import EmbeddedServer
from minitik_dagster.local.stores import create_databases, prepare_stores
from minitik_dagster.local.supervisor import Say, Supervisor
from minitik_dagster.settings import load_settings, settings

# Stopped from the last to the first: what writes ends before what it writes to.
_SERVERS, _CODE, _PROGRAMS = 0, 1, 2
_PROGRAM_TIMEOUT_SECONDS = 120.0
TIKTOK_EVENTS_PATH = "/api/webhooks/tiktok"


class Stack:
    """Starts everything that is not configured, and stops it again.

    `environ` is what the caller was started with: what it sets is used, not started.
    """

    def __init__(self, options: StackOptions, say: Say, environ: Mapping[str, str]) -> None:
        self._options = options
        self._say = say
        self._environ = dict(environ)
        self.folder = DataFolder(options.data_dir)
        self.supervisor = Supervisor(say)
        self._dead: list[str] = []
        self._burial: ChildProcess | None = None

    def start(self) -> Endpoints:
        """Start all parts and wait until each answers; write endpoints.json.

        Raises MinitikError with one clear line; `stop()` must follow in any case.
        """
        self.folder.open()
        self.folder.endpoints_file.unlink(missing_ok=True)
        secrets = load_or_make_secrets(self.folder.secrets_file)
        plan = make_plan(self._options, self._environ, self.folder, secrets)
        # This process joins the environment of its children: it migrates and seeds with it.
        os.environ.update(plan.environment)
        settings.cache_clear()
        load_settings()
        prepare_dagster_home(self.folder.dagster_home)

        began = time.time()
        code = self._start_servers(plan)
        for revision in prepare_stores(plan, load_settings()):
            self._say(f"migrated: {revision}")
        api = self._start_api(plan)
        api_key, admin_api_key = self._seed(plan)
        self.supervisor.wait_for(
            "the Dagster code server",
            lambda: something_listens(plan.code_port),
            timeout_seconds=_PROGRAM_TIMEOUT_SECONDS,
            log=code.log,
        )
        self._start_dagster(plan, began, api)
        self._send_events(plan)
        self._bury(plan)
        endpoints = Endpoints(
            api=f"http://{LOOPBACK}:{plan.api_port}",
            dagster=f"http://{LOOPBACK}:{plan.web_port}",
            sandbox=plan.sandbox.url if plan.sandbox else control_url(plan.environment),
            databaseUrl=plan.environment["DATABASE_URL"],
            redisUrl=plan.environment["REDIS_URL"],
            mongodbUri=plan.environment["MONGODB_URI"],
            s3Endpoint=plan.environment.get("AWS_ENDPOINT_URL_S3"),
            s3Bucket=plan.environment["AWS_S3_BUCKET"],
            apiKey=api_key,
            adminApiKey=admin_api_key,
        )
        endpoints.write(self.folder.endpoints_file)
        return endpoints

    def stop(self) -> None:
        """Stop all parts and give the data folder up; safe to call twice."""
        if self.folder.is_open:
            self.folder.endpoints_file.unlink(missing_ok=True)
        self.supervisor.stop()
        if self._burial is not None:
            self._burial.stop()
        self.folder.close()

    def _start_servers(self, plan: Plan) -> ChildProcess:
        """Start the servers and, as soon as its database is there, the slow code server."""
        for server in plan.servers:
            server.launch()
            if server.child is not None:
                self.supervisor.adopt(server.child, wave=_SERVERS, again=server.relaunch)
        if plan.postgres is not None:
            for opened in plan.postgres.opened_folders:
                self._say(f"{opened} is now searchable (o+x): PostgreSQL does not run as root")
            self._wait_for_server(plan.postgres)
        create_databases(plan)
        self._dead = self._dead_runs(plan)
        code = self._program(
            plan,
            "code-server",
            ["dagster", "api", "grpc", "--module-name", "minitik_dagster.definitions"],
            ["--host", LOOPBACK, "--port", str(plan.code_port), "--location-name", "minitik"],
        )
        self.supervisor.start(code, wave=_CODE)
        for server in plan.servers:
            if server is not plan.postgres:
                self._wait_for_server(server)
        return code

    def _dead_runs(self, plan: Plan) -> list[str]:
        """Runs that a crash left in progress; asked before the daemon lives, so none of this start."""
        if plan.postgres is None:
            return []
        url = plan.postgres.database_url("dagster")
        return find_dead_runs(url) if plan.environment["DAGSTER_POSTGRES_URL"] == url else []

    def _bury(self, plan: Plan) -> None:
        """Have them marked as failed beside the running stack: the start does not wait for it."""
        if self._dead:
            self._say(
                f"Dagster runs that ended with an earlier stack: {len(self._dead)}; marked as failed"
            )
            module = ["minitik_dagster.local.dead_runs"]
            self._burial = self._program(plan, "dead-runs", module, self._dead)
            self._burial.start()

    def _wait_for_server(self, server: EmbeddedServer) -> None:
        self.supervisor.wait_for(
            f"{server.name} on port {server.port}",
            server.answers,
            timeout_seconds=server.start_timeout_seconds,
            log=server.log,
        )

    def _start_api(self, plan: Plan) -> ChildProcess:
        api = self._program(
            plan,
            "api",
            ["uvicorn", "minitik_dagster.api.app:create_app", "--factory"],
            [
                *("--host", LOOPBACK, "--port", str(plan.api_port)),
                # The server's own access log would hold queries, and with them OAuth codes.
                *("--timeout-graceful-shutdown", "5", "--no-access-log"),
                # The application reads X-Forwarded-For itself, behind TRUSTED_PROXIES only.
                "--no-proxy-headers",
            ],
        )
        self.supervisor.start(api, wave=_PROGRAMS)
        return api

    @staticmethod
    def _send_events(plan: Plan) -> None:
        """Let the sandbox's TikTok send its signed events to the API, as a configured app does."""
        if plan.sandbox is not None:
            plan.sandbox.send_events_to(
                f"http://{LOOPBACK}:{plan.api_port}{TIKTOK_EVENTS_PATH}",
                clientKey=plan.environment["TIKTOK_CLIENT_ID"],
                clientSecret=plan.environment["TIKTOK_CLIENT_SECRET"],
            )

    def _seed(self, plan: Plan) -> tuple[str | None, str | None]:
        if not plan.seeds:
            return None, None
        from minitik_dagster.local.seed import seed_demo

        seeded = seed_demo(load_settings(), control_url(plan.environment) or "")
        self._say(f"demo user {seeded.email} with {len(seeded.account_ids)} accounts")
        return seeded.api_key, seeded.admin_api_key

    def _start_dagster(self, plan: Plan, began: float, api: ChildProcess) -> None:
        workspace = ["--workspace", str(self.folder.dagster_home / "workspace.yaml")]
        web = self._program(
            plan,
            "dagster-webserver",
            ["uvicorn", "minitik_dagster.webserver.app:create_app", "--factory"],
            [
                *("--host", LOOPBACK, "--port", str(plan.web_port), "--log-level", "warning"),
                *("--no-proxy-headers", "--timeout-graceful-shutdown", "5"),
            ],
        )
        daemon = self._program(plan, "dagster-daemon", ["dagster._daemon", "run", *workspace], [])
        for child in (web, daemon):
            self.supervisor.start(child, wave=_PROGRAMS)
        self.supervisor.wait_for(
            "the API",
            lambda: probes.answers_ok(plan.api_port, "/readyz"),
            timeout_seconds=_PROGRAM_TIMEOUT_SECONDS,
            log=api.log,
        )
        self.supervisor.wait_for(
            "the Dagster web UI",
            lambda: probes.location_is_loaded(probes.dagster_state(plan.web_port)),
            timeout_seconds=_PROGRAM_TIMEOUT_SECONDS,
            log=web.log,
        )
        self.supervisor.wait_for(
            "the Dagster daemon's first heartbeat",
            lambda: probes.daemons_beat_since(probes.dagster_state(plan.web_port), began),
            timeout_seconds=_PROGRAM_TIMEOUT_SECONDS,
            log=daemon.log,
        )

    def _program(
        self, plan: Plan, name: str, module: Sequence[str], arguments: Sequence[str]
    ) -> ChildProcess:
        return ChildProcess(
            name,
            [sys.executable, "-m", *module, *arguments],
            log=self.folder.log(name),
            env=plan.environment,
            cwd=self.folder.dagster_home,
            grace_seconds=15.0,
        )
