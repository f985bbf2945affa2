"""A restored database forgets what it sent: nothing of that time is sent again, and the rest goes on."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from minitik_dagster.db.engine import libpq_url, make_async_engine
from minitik_dagster.db.types import Platform
from minitik_dagster.local.servers.postgres import PostgresServer, installation
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.publishing import epochs, quarantine
from minitik_dagster.publishing.queries import REGISTER_DISPATCHER
from minitik_dagster.settings import Settings
from tests.publishing.running import all_at, run_until

pytestmark = pytest.mark.slow
ALL = tuple(Platform)
BACKUP = "backup"


class Backups:
    """Copies of this test's database, and their return in its place."""

    def __init__(self, server: PostgresServer, bench: Workbench) -> None:
        self.server, self.bench = server, bench
        self._before = {item["id"] for item in bench.sandbox.posts()}
        self.name = bench.settings.require_database_url().rpartition("/")[2].partition("?")[0]

    def public(self) -> list[str]:
        """Return the platforms of what became public in this test, a post each."""
        posts = self.bench.sandbox.posts()
        return sorted(item["platform"] for item in posts if item["id"] not in self._before)

    def take(self) -> None:
        """Copy the database as it stands."""
        self.bench.engine.dispose()
        self.server.create_database(f"{self.name}_{BACKUP}", template=self.name)

    def restore(self) -> None:
        """Put the copy in the database's place."""
        self.bench.engine.dispose()
        self.server.drop_database(self.name)
        self.server.create_database(self.name, template=f"{self.name}_{BACKUP}")
        self.server.drop_database(f"{self.name}_{BACKUP}")


@pytest.fixture
def backups(postgres_server: PostgresServer, workbench: Workbench) -> Backups:
    return Backups(postgres_server, workbench)


def store(bench: Workbench) -> ObjectStore:
    return ObjectStore.from_settings(bench.settings)


def minutes_pass(bench: Workbench, number: int = 3) -> None:
    """Let so many minutes' epochs be mirrored."""
    for _ in range(number):
        with bench.engine.begin() as connection:
            connection.execute(
                text(
                    'UPDATE settings SET "updatedAt" = "updatedAt" - interval \'1 minute\' '
                    "WHERE key = 'epoch'"
                )
            )
        epochs.keep(bench.engine.begin, store(bench))


def post(bench: Workbench, seconds: float, platforms: tuple[Platform, ...] = ALL) -> list[str]:
    accounts = [(bench.add_account(platform), platform) for platform in platforms]
    video = bench.add_video()
    return bench.schedule(video, accounts, bench.now() + timedelta(seconds=seconds))


def stages(bench: Workbench, ids: list[str]) -> set[str | None]:
    return {row.stage for row in bench.rows(ids)}


def test_what_was_sent_after_the_backup_is_found_live_and_not_sent_again(
    workbench: Workbench, backups: Backups
) -> None:
    """Prepared in the backup, public on the platform: asked by its handle, it is live, without hands."""
    epochs.keep(workbench.engine.begin, store(workbench))
    ids = post(workbench, 6)
    run_until(workbench, ids, all_at("prepared"))
    backups.take()
    run_until(workbench, ids, all_at("live"))
    minutes_pass(workbench)
    backups.restore()
    later = post(workbench, 4, (Platform.YOUTUBE,))
    run_until(workbench, [*ids, *later], all_at("live"))
    assert backups.public() == ["instagram", "tiktok", "youtube", "youtube"]
    with workbench.engine.connect() as connection:
        [found] = quarantine.list_quarantines(connection)
        assert (found.publications, found.waiting) == (3, 0)
        assert found.reconciled_at is not None
        assert {item["stood_at"] for item in quarantine.publications(connection, found.id)} == {
            "prepared"
        }


def test_what_the_backup_has_no_handle_of_waits_for_a_person(
    workbench: Workbench, backups: Backups
) -> None:
    """Scheduled in the backup: nothing can be asked; what is due afterwards goes out all the same."""
    epochs.keep(workbench.engine.begin, store(workbench))
    ids = post(workbench, 3)
    backups.take()
    run_until(workbench, ids, all_at("live"))
    minutes_pass(workbench)
    backups.restore()
    after = post(workbench, 3, (Platform.TIKTOK,))
    run_until(workbench, after, all_at("live"))
    assert stages(workbench, ids) == {"review"}
    assert backups.public() == ["instagram", "tiktok", "tiktok", "youtube"]
    with workbench.engine.connect() as connection:
        assert quarantine.waiting(connection) == 3


def test_a_dispatcher_that_runs_notices_a_server_that_has_forgotten(
    workbench: Workbench, backups: Backups
) -> None:
    """A promoted replica answers in the old one's place: before the next claim the mirror is asked."""
    epochs.keep(workbench.engine.begin, store(workbench))
    ids = post(workbench, 2, (Platform.YOUTUBE,))
    backups.take()
    turn: list[Callable[[], None]] = []

    def fail_over() -> None:
        if not turn and stages(workbench, ids) == {"live"}:
            minutes_pass(workbench)
            _cut(backups)
            backups.restore()
            turn.append(fail_over)

    run_until(workbench, ids, all_at("review"), meanwhile=fail_over)
    assert backups.public() == ["youtube"]


def test_what_a_server_forgot_within_a_minute_is_known_to_who_sent_it(
    workbench: Workbench, backups: Backups
) -> None:
    """No epoch lies between: the dispatcher misses its own commit in the ledger, and nothing is sent again."""
    epochs.keep(workbench.engine.begin, store(workbench))
    ids = post(workbench, 0.5)
    backups.take()
    turn: list[Callable[[], None]] = []

    def fail_over() -> None:
        if not turn and stages(workbench, ids) == {"live"}:
            _cut(backups)
            backups.restore()
            turn.append(fail_over)

    run_until(workbench, ids, all_at("review"), meanwhile=fail_over)
    assert backups.public() == ["instagram", "tiktok", "youtube"]
    with workbench.engine.connect() as connection:
        [found] = quarantine.list_quarantines(connection)
        assert (found.publications, found.epoch) == (3, None)


@pytest.mark.parametrize("others", [0, 1])
def test_a_dispatcher_that_is_not_alone_lets_the_others_speak_first(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """After a lost connection, before it claims: whoever sent something knows what is missing."""
    monkeypatch.setattr(epochs, "_OTHERS_SPEAK", timedelta(hours=1))
    values = {"kind": "resident", "run_id": None, "instance": "default", "host": "h", "pid": 1}
    with workbench.engine.begin() as connection:
        for number in range(others + 1):
            connection.execute(
                text(REGISTER_DISPATCHER),
                {"owner": f"d{number}", "window_end": None, "skew_ms": 0, **values},
            )

    async def looked() -> bool:
        engine = make_async_engine(workbench.settings.require_database_url())
        keeper = epochs.EpochKeeper(engine, store(workbench), _nobody, owner="d0", doubtful=True)
        task = asyncio.create_task(keeper.look())
        done, _ = await asyncio.wait({task}, timeout=5)
        task.cancel()
        await engine.dispose()
        return bool(done)

    assert asyncio.run(looked()) is (others == 0)


async def _nobody(_ids: list[str]) -> None:
    raise AssertionError("nothing is in quarantine")


def _cut(backups: Backups) -> None:
    """End the database's connections, as a failover does."""
    url = libpq_url(backups.server.database_url("postgres"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            [backups.name],
        )


def test_a_bucket_that_is_away_stops_no_post_and_hides_no_restore(
    workbench: Workbench, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dispatcher starts and sends; the counter stands still, so the first answer still tells."""
    epochs.keep(workbench.engine.begin, store(workbench))
    backups.take()
    minutes_pass(workbench)
    backups.restore()
    with workbench.engine.connect() as connection:
        before = epochs.read_epoch(connection)

    def away(*_: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(epochs, "read_mirror", away)
        ids = post(workbench, 1, (Platform.YOUTUBE,))
        run_until(workbench, ids, all_at("live"))
    with workbench.engine.connect() as connection:
        assert epochs.read_epoch(connection) == before
    epochs.keep(workbench.engine.begin, store(workbench))
    with workbench.engine.connect() as connection:
        assert len(quarantine.list_quarantines(connection)) == 1


def test_a_dump_that_is_read_back_is_behind_its_mirror(
    workbench: Workbench, backups: Backups, tmp_path: Path
) -> None:
    """pg_dump and pg_restore: what was due meanwhile goes to review, what is due later stays."""
    epochs.keep(workbench.engine.begin, store(workbench))
    now, later = post(workbench, -1, (Platform.TIKTOK,)), post(workbench, 7200)
    url, dump = libpq_url(workbench.settings.require_database_url()), tmp_path / "dump"
    _run("pg_dump", "--format=custom", f"--file={dump}", f"--dbname={url}")
    minutes_pass(workbench)
    workbench.engine.dispose()
    backups.server.drop_database(backups.name)
    backups.server.create_database(backups.name)
    _run("pg_restore", "--no-owner", f"--dbname={url}", str(dump))
    epochs.keep(workbench.engine.begin, store(workbench))
    assert stages(workbench, now) == {"review"}
    assert stages(workbench, later) == {"scheduled"}


def _run(program: str, *arguments: str) -> None:
    subprocess.run(
        [installation() / "bin" / program, *arguments], check=True, env=os.environ, timeout=60
    )


def test_a_database_that_is_not_behind_is_left_alone(workbench: Workbench) -> None:
    """Two keepers at once, a mirror that lags, a mirror that was lost: none of them is a restore."""
    objects = store(workbench)
    epochs.keep(workbench.engine.begin, objects)
    minutes_pass(workbench)
    with workbench.engine.connect() as connection:
        own = epochs.read_epoch(connection)
    assert own is not None
    assert epochs.read_mirror(objects, own.database) == own
    epochs.write_mirror(objects, epochs.Epoch(own.database, own.number - 1, own.at))
    epochs.keep(workbench.engine.begin, objects)
    objects.delete(epochs.mirror_key(own.database))
    minutes_pass(workbench, 1)
    found = epochs.read_mirror(objects, own.database)
    assert found is not None
    assert found.number == own.number + 1
    with workbench.engine.connect() as connection:
        assert quarantine.list_quarantines(connection) == []


def test_the_span_ends_where_the_lost_database_did(workbench: Workbench) -> None:
    """Two minutes after the last mirror, and never in the future."""
    epochs.keep(workbench.engine.begin, store(workbench))
    with workbench.engine.connect() as connection:
        own = epochs.read_epoch(connection)
    assert own is not None
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    ids = post(workbench, -1800, (Platform.YOUTUBE,))
    with workbench.engine.begin() as connection:
        epochs.step(connection, epochs.Epoch(own.database, own.number + 5, long_ago))
    assert stages(workbench, ids) == {"scheduled"}


def test_settings_of_a_preview_neither_keep_nor_judge(
    workbench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MINITIK_DISPATCH=off or another instance: the epoch is not theirs."""
    from minitik_dagster.db.instance import is_ours

    epochs.keep(workbench.engine.begin, store(workbench))
    with workbench.engine.connect() as connection:
        assert is_ours(connection, workbench.settings)
        monkeypatch.setenv("MINITIK_DISPATCH", "off")
        assert not is_ours(connection, Settings())
