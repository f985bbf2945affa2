"""The platform sandbox as a process of its own, and its controls as methods."""

import http.client
import json
import sys
from typing import Any

from minitik_dagster.local.errors import LocalStackError
from minitik_dagster.local.ports import LOOPBACK
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.local.sandbox.urls import APP_CREDENTIALS, platform_environment
from minitik_dagster.local.servers.base import EmbeddedServer, program_environment


class SandboxServer(EmbeddedServer):
    """`python -m minitik_dagster.local.sandbox` with its state in one SQLite file."""

    name = "sandbox"

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`: the page that shows what is public."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point every platform host and app at this sandbox."""
        return platform_environment(self.url) | APP_CREDENTIALS

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Ask one of the controls under `/_sandbox/`; return its JSON answer (None when empty).

        Raises LocalStackError when the sandbox refuses, with its words.
        """
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=30)
        payload = None if body is None else json.dumps(body)
        headers = {} if payload is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, body=payload, headers=headers)
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        if response.status >= 400:
            words = data.decode(errors="replace")[:300]
            raise LocalStackError(f"sandbox: {method} {path} answered {response.status}: {words}")
        return json.loads(data) if data else None

    def posts(self) -> list[dict[str, Any]]:
        """Everything public now: `platform, id, account, caption, bytes, sha256, publishedAt`."""
        return list(self.call("GET", "/_sandbox/posts")["posts"])

    def remove_post(self, platform: str, post_id: str) -> None:
        """Take a public post away, as its creator or the platform's moderators do."""
        self.call("DELETE", f"/_sandbox/posts?platform={platform}&id={post_id}")

    def calls(self) -> list[dict[str, Any]]:
        """The requests the platforms have seen since the last reset, oldest first."""
        return list(self.call("GET", "/_sandbox/calls")["calls"])

    def secrets(self) -> list[dict[str, str]]:
        """Tokens, codes, verifiers and upload keys that were given out or shown: `kind, value`."""
        return list(self.call("GET", "/_sandbox/secrets")["secrets"])

    def create_account(self, platform: str, **details: object) -> dict[str, Any]:
        """Make a connected account on a platform (lower case); returns its ids and tokens."""
        answer = self.call("POST", "/_sandbox/accounts", {"platform": platform, **details})
        return dict(answer)

    def send_events_to(self, url: str, **how: object) -> None:
        """Have TikTok's signed events sent to a loopback URL, with lies as asked (events.Webhook)."""
        self.call("PUT", "/_sandbox/webhook", {"url": url, **how})

    def send_event(self, event: str, account: str, **how: object) -> list[dict[str, Any]]:
        """Send one event of TikTok's now (events.Order); returns what each copy was answered."""
        order = {"event": event, "account": account, **how}
        return list(self.call("POST", "/_sandbox/events", order)["deliveries"])

    def deliveries(self) -> list[dict[str, Any]]:
        """What was sent to the callback URL and how it was answered, oldest first."""
        return list(self.call("GET", "/_sandbox/events")["deliveries"])

    def revoke(self, platform: str, account: str) -> None:
        """Withdraw the app's access to an account, as the person does in the platform's own app."""
        self.call("POST", "/_sandbox/revoke", {"platform": platform, "account": account})

    def add_fault(self, **fault: object) -> None:
        """Let the next matching calls go wrong: `platform, operation, kind, count, …`."""
        self.call("POST", "/_sandbox/faults", fault)

    def set_limits(self, **limits: object) -> None:
        """Change quotas and per-minute limits."""
        self.call("PUT", "/_sandbox/limits", limits)

    def reset(self) -> None:
        """Forget faults, changed limits, the call list and the webhook; accounts and posts stay."""
        self.call("DELETE", "/_sandbox/faults")
        self.call("DELETE", "/_sandbox/limits")
        self.call("DELETE", "/_sandbox/calls")
        self.call("DELETE", "/_sandbox/webhook")

    def _child_process(self) -> ChildProcess:
        return ChildProcess(
            self.name,
            [
                *(sys.executable, "-m", "minitik_dagster.local.sandbox"),
                *("--host", LOOPBACK, "--port", str(self.port)),
                *("--db", str(self.folder / "sandbox.sqlite3")),
            ],
            log=self.log,
            env=program_environment(),
            cwd=self.folder,
            grace_seconds=5.0,
        )

    def answers(self) -> bool:
        """Whether it serves requests: asked in its own protocol."""
        try:
            self.call("GET", "/_sandbox/health")
        except (OSError, http.client.HTTPException, LocalStackError):
            return False
        return True
