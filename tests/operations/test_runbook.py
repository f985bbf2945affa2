"""docs/runbook.md is held to the old runbook's rows, to tests that exist, and to its own commands."""

import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import create_key
from minitik_dagster.db.types import Platform
from minitik_dagster.ids import new_id
from minitik_dagster.local.servers.postgres import installation
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.settings import Settings
from tests.api.scene import Scene
from tests.api.server import serving
from tests.cli.running import Command

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "runbook.md").read_text()
# The old runbook's rows, commands and playbooks, in its order. "External Services" is failures.md's.
SEED = (
    "Automatic deployments on push to `main`",
    "Preview deployments on pull requests",
    "`DATABASE_URL`",
    "`REDIS_URL`",
    "`MONGODB_URI`",
    "`NEXTAUTH_URL`",
    "`NEXTAUTH_SECRET`",
    "`ENCRYPTION_KEY`",
    "Deployment Flow",
    "Server External Packages",
    "`npm run db:migrate`",
    "`npx prisma migrate deploy`",
    "**WARNING**: `db:push`",
    "`getAllQueueMetrics()`",
    "`GET /api/scheduling/stats`",
    "`publish` queue failed count",
    "`publish` queue waiting",
    "`token-refresh` failed",
    "Circuit breaker OPEN",
    "Dead letter queue size",
    "Circuit Breaker States",
    "`GET /api/platforms/health`",
    "`redis-cli -u $REDIS_URL PING`",
    '`redis-cli -u $REDIS_URL KEYS "bull:*:waiting"`',
    '`redis-cli -u $REDIS_URL LLEN "bull:publish:wait"`',
    '`redis-cli -u $REDIS_URL GET "circuit_breaker:tiktok:state"`',
    '`npx prisma db execute --stdin <<< "SELECT 1;"`',
    "`SELECT pid, now() - pg_stat_activity.query_start`",
    '1. "ENCRYPTION_KEY must be 32 bytes" Error',
    '2. BullMQ Jobs Stuck in "waiting" State',
    "3. Circuit Breaker Stuck OPEN",
    "4. OAuth Token Refresh Failures",
    "5. MongoDB Analytics Collection Not Created",
    '6. "Cannot schedule a job in the past" Error',
    '7. Prisma "prepared statement already exists" Error',
    "8. S3 Upload Failures",
    "Application Rollback (Vercel)",
    "Database Rollback",
    "**Always take a database backup before applying migrations to production.**",
    "Publishing Rollback: `DELETE /api/publishing/[contentId]`",
    '`redis-cli -u $REDIS_URL DEL "bull:publish:wait"`',
    '`redis-cli -u $REDIS_URL DEL "bull:publish:delayed"`',
    "`await publishQueue.drain()`",
    "Token Refresh (Recurring)",
    '`redis-cli -u $REDIS_URL LLEN "bull:dead-letter:failed"`',
    "MongoDB Analytics TTL",
    "Dependency Updates",
    "P1 Full outage: immediate",
    "P2 Partial outage: < 1 hour",
    "P3 Degraded: < 4 hours",
    "P4 Minor: next business day",
    "P1 Playbook",
    "P2 Playbook (Platform Adapter Failure)",
    "Information to Gather",
)
pytestmark = pytest.mark.slow
_REDIS_CLI = f"""#!{sys.executable}
import sys, redis
_, option, url, *command = sys.argv
assert option == "-u"
answer = redis.Redis.from_url(url, decode_responses=True).execute_command(*command)
print("PONG" if answer is True else "" if answer is None else answer)
"""


def _rows() -> list[list[str]]:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in rows if not row[0].startswith("old runbook")]


def test_every_row_of_the_old_runbook_has_its_row_here() -> None:
    """In its order and in its words; each says what is done here and whether that is the same."""
    rows = _rows()
    assert tuple(row[0] for row in rows) == SEED
    assert all(len(row) == 4 and all(row) for row in rows)
    assert {row[2] for row in rows} == {"same", "better", "gone"}


def test_every_row_is_shown_by_a_test_that_exists() -> None:
    known = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    for row in _rows():
        named = set(re.findall(r"`(test_\w+)`", row[3]))
        assert named, row[0]
        assert named <= known, f"{row[0]}: {named - known}"


@dataclass
class Shell:
    """Runs a block line by line: `minitik` in this process, all else by bash."""

    minitik: Command
    environment: dict[str, str]
    folder: Path
    last: str = ""
    ran: list[str] = field(default_factory=list)

    def run(self, line: str) -> None:
        """Run one line, or hold the last output to an `# Expected:` line."""
        if line.startswith("# Expected: "):
            wanted = line.removeprefix("# Expected: ")
            assert wanted in self.last, f"{self.ran[-1]}: {wanted!r} is not in {self.last!r}"
            return
        assert not line.startswith("#"), f"what is to be done with {line!r}?"
        self.ran.append(line)
        if line.startswith("minitik "):
            self.last = self._minitik(line)
            if found := re.search(r"minitik queues restore (\S+)", self.last):
                self.environment["BATCH"] = found[1]
            return
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        self.last = done.stdout

    def _minitik(self, line: str) -> str:
        words = [os.path.expandvars(word) for word in shlex.split(self._filled(line))]
        said = self.minitik(*words[1:])
        assert said.code == 0, f"{line}: exit {said.code}: {said.err or said.out}"
        return said.out

    def _filled(self, line: str) -> str:
        for name, value in self.environment.items():
            line = re.sub(rf"\${name}\b", value, line)
        return line


@pytest.fixture
def bench(environment: Mapping[str, str], sandbox: SandboxServer) -> Iterator[Workbench]:
    bench = Workbench(Settings(), sandbox)
    yield bench
    bench.close()


@pytest.fixture
def shell(
    environment: Mapping[str, str],
    bench: Workbench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Shell]:
    """A system with posts, an account that has ended, a dead letter, an admin; and its programs."""
    youtube, ended = (bench.add_account(Platform.YOUTUBE) for _ in range(2))
    due = bench.now() + timedelta(hours=3)
    videos = [bench.add_video(2_000) for _ in range(3)]
    for video in videos:
        bench.schedule(video, [(youtube, Platform.YOUTUBE)], due)
    scene = Scene(bench.engine)
    scene.run("UPDATE accounts SET status = 'EXPIRED' WHERE id = :id", id=ended)
    letter = new_id()
    scene.run(
        "UPDATE publications SET stage = 'failed', status = 'FAILED', \"errorCode\" = 'too_late' "
        'WHERE "contentId" = :id',
        id=videos[0].content_id,
    )
    scene.run(
        'INSERT INTO dead_letters (id, "publicationId", "contentId", "accountId", platform, code, '
        'reason, fix, story, "createdAt") SELECT :id, id, "contentId", "accountId", platform, '
        "'too_late', 'it was late', 'schedule it again', '[]', \"createdAt\" FROM publications "
        "WHERE stage = 'failed'",
        id=letter,
    )
    # Dagster's daemon is alive: its sensor has just looked.
    scene.run("INSERT INTO settings VALUES ('alerts:sensor', 'true', now() AT TIME ZONE 'UTC')")
    email = "operator@example.test"
    scene.run("UPDATE users SET email = :email", email=email)
    with Session(bench.engine) as session, session.begin():
        key = create_key(session, bench.user_id, "admin", scopes=("admin",))
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "redis-cli").write_text(_REDIS_CLI)
    (binaries / "redis-cli").chmod(stat.S_IRWXU)
    monkeypatch.setenv("ADMIN_EMAILS", email)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}{os.pathsep}{installation() / 'bin'}")
    settings = Settings().model_copy(update={"nextauth_secret": SecretStr("x" * 40)})
    with serving(settings) as api:
        yield Shell(
            Command(monkeypatch, capsys),
            {
                **environment,
                "PATH": f"{binaries}:{os.environ['PATH']}:{installation() / 'bin'}",
                "API": str(api.base_url).rstrip("/"),
                "ADMIN_KEY": key,
                "CONTENT": videos[1].content_id,
                "LETTER": letter,
            },
            tmp_path,
        )


def test_the_blocks_of_this_page_do_what_they_say(shell: Shell) -> None:
    """Each line of each block, in the page's order, on one living system."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert PAGE.count("```") == 2 * len(blocks), "a block that is not run"
    for block in blocks:
        for line in block.splitlines():
            shell.run(line)
    assert len(shell.ran) > 40
