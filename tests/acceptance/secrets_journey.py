"""Everything a person and their programs do with a stack, well and badly, with each answer kept."""

import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
from sqlalchemy import create_engine, text

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.local.demo_verdict import TERMINAL_STAGES
from minitik_dagster.local.plan import DEMO_EMAIL
from minitik_dagster.local.servers.sandbox import SandboxServer
from tests.api.consent import decide
from tests.media.videos import make_video

from .secrets_places import put
from .secrets_search import Secret

PLATFORMS: Final = ("tiktok", "instagram", "youtube")
_LINK: Final = re.compile(r"^mail: https?://\S+/auth/verify\?token=(\S+)$", re.MULTILINE)
_LAUNCH: Final = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) { ... on LaunchRunSuccess { run { id } } }
}
"""
_STATUS: Final = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
_PATIENCE_SECONDS: Final = 60.0


@dataclass
class Journey:
    """One stack's people and programs. `environment` is what its commands are given."""

    api_url: str
    dagster_url: str
    database_url: str
    sandbox: SandboxServer
    output: Path
    evidence: Path
    environment: dict[str, str]
    keys: tuple[str, str]
    known: list[Secret] = field(default_factory=list)
    accounts: dict[str, str] = field(default_factory=dict)
    said: int = 0

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.api_url, timeout=60, trust_env=False)
        self.engine = create_engine(
            self.database_url.replace("postgresql://", "postgresql+psycopg://", 1)
        )

    def close(self) -> None:
        """Give the connections back."""
        self.http.close()
        self.engine.dispose()

    def learn(self, kind: str, value: str) -> str:
        """Note a secret that the journey was shown."""
        self.known.append(Secret(kind, value))
        return value

    def ask(
        self, method: str, path: str, *, shows: str = "", expect: int | None = None, **request: Any
    ) -> httpx.Response:
        """Send a request and keep its answer; `shows` names the kind of secret it is there to show."""
        answer = self.http.request(method, path, **request)
        assert expect is None or answer.status_code == expect, (method, expect, answer.text)
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self._keep(
            f"{method} {re.sub(r'[^/]{26,}', '…', answer.request.url.path)}",
            f"{answer.status_code}\n{head}\n\n{answer.text}".encode(),
            shows,
        )
        return answer

    def run(self, *arguments: str, shows: str = "", **environment: str) -> str:
        """Run a command and keep all it says."""
        done = subprocess.run(
            [sys.executable, "-m", "minitik_dagster.cli.main", *arguments],
            env=self.environment | environment,
            capture_output=True,
            timeout=100,
            check=False,
        )
        self._keep("minitik " + " ".join(arguments[:2]), done.stdout + b"\n" + done.stderr, shows)
        return done.stdout.decode()

    def _keep(self, name: str, data: bytes, shows: str) -> None:
        self.said += 1
        folder = self.evidence / ("shown once" if shows else "answers")
        put(folder, f"{self.said:03} {shows}={name}" if shows else f"{self.said:03} {name}", data)

    def rows(self, sql: str, **values: Any) -> list[Any]:
        """What a query finds."""
        with self.engine.connect() as connection:
            return list(connection.execute(text(sql), values))

    def until(self, seen: Callable[[], object], what: str) -> None:
        """Look until it is seen."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while not seen():
            assert time.monotonic() < end, f"{what} was not seen"
            time.sleep(0.1)

    # What a person does.

    def sign_in(self) -> dict[str, str]:
        """Ask for a link, read it where the stack prints it, use it; return a browser's headers."""
        before = len(_LINK.findall(self.output.read_text()))
        self.ask("POST", "/api/auth/magic-link", json={"email": DEMO_EMAIL}, expect=202)
        self.until(lambda: len(_LINK.findall(self.output.read_text())) > before, "the link")
        link = self.learn("sign-in link", _LINK.findall(self.output.read_text())[-1])
        self.ask("GET", f"/auth/verify?token={link}", shows="sign-in link", expect=200)
        own = {"Origin": self.api_url}
        body = {"token": link}
        done = self.ask(
            "POST", "/api/auth/verify", json=body, headers=own, shows="session cookie", expect=200
        )
        self.ask("POST", "/api/auth/verify", json=body, headers=own, expect=400)
        cookie = self.learn("session cookie", done.cookies["minitik_session"])
        # Each request says for itself whose it is.
        self.http.cookies.clear()
        return own | {"Cookie": f"minitik_session={cookie}"}

    def make_key(self, browser: Mapping[str, str]) -> dict[str, str]:
        """Make an API key in the browser and another by command; return a program's headers."""
        made = self.ask(
            "POST",
            "/api/keys",
            json={"name": "phone"},
            headers=browser,
            shows="API key",
            expect=201,
        )
        key = self.learn("API key", made.json()["key"])
        said = self.run("keys", "create", DEMO_EMAIL, "--name", "cron", shows="API key")
        [other] = set(re.findall(r"mtk_[\w-]+", said)) or {""}
        if other:
            self.learn("API key", other)
        program = {"Authorization": f"Bearer {key}"}
        self.ask("GET", "/api/keys", headers=program, expect=200)
        return program

    def connect(self, browser: Mapping[str, str], platform: str, *, page: bool = False) -> None:
        """Connect a new account by the platform's consent page, or fail to in three ways."""
        for decision in ("deny", "allow") if platform == "youtube" else ("allow",):
            begun = self.ask(
                "POST",
                "/api/accounts/initiate",
                json={"provider": platform},
                headers=browser,
                shows="OAuth state",
                expect=200,
            ).json()
            self.learn("OAuth state", begun["state"])
            back = decide(begun["authorizationUrl"], decision=decision)
            accept = {"Accept": "text/html"} if page else {}
            done = self.ask("GET", back.path, headers={**browser, **accept})
        assert done.status_code == (303 if page else 200), done.text
        # The browser's back button; a code of another's; a state that was never given.
        self.ask("GET", back.path, headers=browser)
        self.ask("GET", back.altered(code=f"wrong-{secrets.token_hex(20)}"), headers=browser)
        self.ask("GET", back.altered(state=self.planted()), headers=browser)
        listed = self.ask("GET", "/api/accounts", headers=browser, expect=200).json()["accounts"]
        mine = [item["id"] for item in listed if item["platform"] == platform.upper()]
        self.accounts[platform] = mine[-1]

    def upload(self, program: Mapping[str, str], seed: int) -> str:
        """Upload a small real video in one part; return the content's id."""
        data = make_video(seconds=3.2, width=540, height=960, seed=seed)
        plan = self.ask(
            "POST",
            "/api/content",
            json={
                "title": f"Video {seed}",
                "filename": "video.mp4",
                "mimeType": "video/mp4",
                "fileSize": len(data),
            },
            headers=program,
            shows="presigned URL",
            expect=201,
        ).json()
        [part] = plan["chunkUrls"]
        self._learn_url(part["url"])
        resumed = self.ask(
            "GET",
            f"/api/content/upload/{plan['contentId']}/resume",
            headers=program,
            shows="presigned URL",
            expect=200,
        )
        for url in re.findall(r"https?://[^\"]+", resumed.text):
            self._learn_url(url)
        # What S3 answers is S3's; the signature is in our request.
        sent = httpx.put(part["url"], content=data, timeout=60, trust_env=False)
        path = f"/api/content/upload/{plan['contentId']}"
        body = {"etag": sent.headers["etag"]}
        self.ask("PUT", f"{path}/chunk/1", json=body, headers=program, expect=200)
        self.ask("POST", f"{path}/complete", headers=program, expect=200)
        self.ask("GET", f"/api/content/{plan['contentId']}", headers=program)
        return str(plan["contentId"])

    def _learn_url(self, url: str) -> None:
        for name, value in httpx.URL(url).params.items():
            if name == "X-Amz-Signature":
                self.learn("presigned URL", value)

    def schedule(self, program: Mapping[str, str], content_id: str, seconds: float) -> None:
        """Schedule a content on all accounts so many seconds ahead."""
        at = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "contentId": content_id,
            "accountIds": list(self.accounts.values()),
            "scheduledAt": at,
            "options": {"tiktok": {"privacy": "PUBLIC_TO_EVERYONE"}},
        }
        self.ask("POST", "/api/scheduling", json=body, headers=program, expect=201)

    def follow(self, program: Mapping[str, str], content_id: str) -> dict[str, str]:
        """Wait until every post of a content has ended or said why it has not; return their stages."""
        sql = 'SELECT platform::text, stage, error FROM publications WHERE "contentId" = :id'
        self.until(
            lambda: all(
                row.stage in TERMINAL_STAGES or row.error for row in self.rows(sql, id=content_id)
            ),
            f"what became of {content_id}",
        )
        self.ask("GET", f"/api/publishing/{content_id}", headers=program, expect=200)
        return {row.platform.lower(): row.stage for row in self.rows(sql, id=content_id)}

    def planted(self) -> str:
        """A new secret of no platform's form, to be put where none belongs."""
        return self.learn("planted", secrets.token_urlsafe(32))

    def misplace(self, program: Mapping[str, str], browser: Mapping[str, str]) -> None:
        """Put secrets where they do not belong: paths, queries, bodies, headers."""
        given = [item["value"] for item in self.sandbox.secrets() if "token" in item["kind"]]
        mine = [self.keys[0], *given[-3:], *(self.planted() for _ in range(2))]
        for secret in mine:
            path, plain = quote(secret, safe=""), secret
            for method, where in (
                ("GET", f"/api/content/{path}"),
                ("DELETE", f"/api/accounts/{path}"),
                ("POST", f"/api/accounts/{path}/refresh"),
                ("GET", f"/api/publishing/{path}"),
                ("GET", f"/api/dead-letters/{path}"),
                ("POST", f"/api/platforms/circuit-breakers/{path}/reset"),
                ("GET", f"/api/nothing/{path}?access_token={path}"),
                ("GET", f"/api/accounts/callback/{path}?code={path}"),
                ("PUT", f"/api/accounts?token={path}"),
                ("GET", f"/api/scheduling?status={path}&from={path}"),
                ("GET", f"/{path}"),
            ):
                self.ask(method, where, headers=program)
            wrong: list[Any] = [
                {"contentId": plain, "accountIds": [plain], "scheduledAt": plain},
                {"contentId": {"x": plain}, "accountIds": plain, "timezone": plain, plain: 1},
                {"contentId": "x", "accountIds": [], "options": {plain: {"title": plain}}},
                {"contentId": "x", "accountIds": [], "options": {"tiktok": {"privacy": plain}}},
                plain,
                [plain],
            ]
            for body in wrong:
                self.ask("POST", "/api/scheduling", json=body, headers=program)
                self.ask("POST", "/api/publishing", json=body, headers=program)
            bodies: dict[str, Any] = {
                "/api/accounts/initiate": {"provider": plain, "accountId": plain},
                "/api/content": {"filename": "x.mp4", "mimeType": plain, "fileSize": plain},
                "/api/keys": {"name": "x", "scopes": [plain], "expiresAt": plain},
                "/api/queues/pause": {"platform": plain, "accountId": plain},
                "/api/dead-letters/replay": {"ids": [plain], "platform": plain},
                "/api/auth/magic-link": {"email": plain},
                "/api/auth/verify": {"token": plain},
            }
            for where, body in bodies.items():
                self.ask("POST", where, json=body, headers=browser)
            for raw in (f'{{"contentId": "{plain}"', f"token={path}", f"{plain}\0\ufffd"):
                self.ask("POST", "/api/scheduling", content=raw.encode(), headers=program)
            self.ask("GET", "/api/accounts", headers={"Authorization": f"Bearer {plain}"})
            self.ask("GET", "/api/accounts", headers={"Authorization": f"Basic {plain}"})
            self.ask("GET", "/api/accounts", headers={"Cookie": f"minitik_session={plain}"})
            self.ask("GET", "/healthz", headers={"Host": f"{plain}.example.org"})
        self.run("accounts", "disconnect", mine[1])

    def run_in_dagster(self, job: str) -> None:
        """Launch a job as a person does in the web UI, and wait for its success."""
        values = {
            "repositoryLocationName": "minitik",
            "repositoryName": "__repository__",
            "pipelineName": job,
        }
        launched = self._graphql(_LAUNCH, params={"selector": values, "runConfigData": {}})
        run_id = launched["launchRun"]["run"]["id"]
        self.until(
            lambda: self._graphql(_STATUS, id=run_id)["runOrError"]["status"] == "SUCCESS",
            f"the success of {job}",
        )

    def _graphql(self, query: str, **variables: Any) -> Any:
        body = {"query": query, "variables": variables}
        answer = httpx.post(f"{self.dagster_url}/graphql", json=body, timeout=30, trust_env=False)
        return answer.json()["data"]

    def age_key(self, account_id: str, old_key: str, present_key: str) -> None:
        """Have one account's tokens sealed by the previous key, as before a key change."""
        vault, old = Vault([bytes.fromhex(present_key)]), Vault([bytes.fromhex(old_key)])
        [row] = self.rows(
            'SELECT "accessToken" AS token FROM accounts WHERE id = :id', id=account_id
        )
        with self.engine.begin() as connection:
            connection.execute(
                text('UPDATE accounts SET "accessToken" = :new WHERE id = :id'),
                {"id": account_id, "new": old.seal(vault.open(row.token))},
            )


def password_of(url: str) -> str:
    """The password in a URL."""
    return urlsplit(url).password or ""
