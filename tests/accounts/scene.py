"""Accounts connected at the sandbox, and eyes on what becomes of them."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.models import Account, User
from minitik_dagster.db.types import AccountStatus, Platform, SubscriptionTier
from minitik_dagster.ids import new_id
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.settings import Settings

KEY, NEW_KEY = "ab" * 32, "cd" * 32
_POLL_SECONDS = 0.02


class AccountScene:
    """One person's accounts."""

    def __init__(self, environment: Mapping[str, str], sandbox: SandboxServer) -> None:
        self.environment = dict(environment)
        self.sandbox = sandbox
        self.settings = Settings()
        self.vault = Vault.from_settings(self.settings)
        self.engine = make_engine(self.settings.require_database_url())
        self.user_id = new_id()
        now = datetime.now(UTC)
        with Session(self.engine) as session, session.begin():
            session.add(
                User(
                    id=self.user_id,
                    email=f"{self.user_id}@example.org",
                    subscription_tier=SubscriptionTier.FREE,
                    created_at=now,
                    updated_at=now,
                )
            )

    def account(self, platform: Platform, **columns: Any) -> str:
        """Connect an account whose token is a day old and ends in an hour, unless told otherwise."""
        # The sandbox's token is new; how old it is, is told to the database only.
        self.sandbox.set_limits(instagram={"refreshMinAgeSeconds": 0})
        given = self.sandbox.create_account(platform.value.lower())
        refresh, now = given["refreshToken"], datetime.now(UTC)
        values: dict[str, Any] = {
            "id": new_id(),
            "user_id": self.user_id,
            "platform": platform,
            "platform_account_id": given["platformAccountId"],
            "access_token": self.vault.seal(given["accessToken"]),
            "refresh_token": self.vault.seal(refresh) if refresh else None,
            "token_expires_at": now + timedelta(hours=1),
            "token_issued_at": now - timedelta(hours=25),
            "token_version": 1,
            "status": AccountStatus.CONNECTED,
            "connected_at": now - timedelta(days=2),
        }
        with Session(self.engine) as session, session.begin():
            session.add(account := Account(**{**values, **columns}))
            return account.id

    def post(self, account_id: str, due_in: timedelta, lead: timedelta = timedelta(0)) -> None:
        """Give the account a scheduled post."""
        now = datetime.now(UTC).replace(tzinfo=None)
        with self.engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(
                text(
                    'INSERT INTO publications (id, "contentId", "accountId", platform, status, '
                    'stage, "dueAt", "prepareAt", "createdAt", "updatedAt", revision, "leaseToken") '
                    "SELECT :id, :id, a.id, a.platform, 'QUEUED', 'scheduled', :due, :prepare, "
                    ":now, :now, 0, 0 FROM accounts a WHERE a.id = :account"
                ),
                {
                    "id": new_id(),
                    "account": account_id,
                    "due": now + due_in,
                    "prepare": now + due_in - lead,
                    "now": now,
                },
            )

    def row(self, account_id: str) -> Account:
        """The account as it stands."""
        with Session(self.engine) as session:
            return session.get_one(Account, account_id)

    def tokens(self, account_id: str, vault: Vault | None = None) -> tuple[str, str]:
        """Both tokens, opened; an absent refresh token is empty."""
        row, opener = self.row(account_id), vault or self.vault
        refresh = opener.open(row.refresh_token) if row.refresh_token else ""
        return opener.open(row.access_token), refresh

    def run(self, sql: str, **values: Any) -> None:
        """Change the database by hand."""
        with self.engine.begin() as connection:
            connection.execute(text(sql), values)

    def notices(self) -> list[dict[str, Any]]:
        """What was queued for people, oldest first: kind and payload."""
        with self.engine.connect() as connection:
            rows = connection.execute(
                text('SELECT kind, payload FROM outbox ORDER BY "createdAt", id')
            )
            return [{"kind": row.kind, **row.payload} for row in rows]

    def token_calls(self) -> list[dict[str, Any]]:
        """The refreshes that the platforms have seen."""
        return [call for call in self.sandbox.calls() if call["operation"] == "token"]

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a real `minitik` process."""
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.Popen(
            [sys.executable, "-m", "minitik_dagster.cli.main", *arguments],
            env={**inherited, **self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def waiting_for_a_lock(self) -> bool:
        """Whether a session of this database waits for a lock."""
        with self.engine.connect() as connection:
            return bool(
                connection.execute(
                    text(
                        "SELECT count(*) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
                    )
                ).scalar_one()
            )


def wait_for(seen: Callable[[], bool], what: str, *, seconds: float = 40) -> None:
    """Look until it is seen; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, f"{what} was not seen"
        time.sleep(_POLL_SECONDS)
