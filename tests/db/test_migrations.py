"""An old system's database is adopted as it is, and given back as it was."""

import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

import minitik_dagster.db.tables  # noqa: F401 - fills the metadata
from minitik_dagster.db import migrate
from minitik_dagster.db.engine import libpq_url, make_engine
from minitik_dagster.db.models import Base
from minitik_dagster.db.stages import Stage
from minitik_dagster.errors import SchemaVersionError
from minitik_dagster.local.servers.postgres import PostgresServer, installation

LEGACY = (Path(__file__).parent.parent / "data" / "legacy_schema.sql").read_text()
LEGACY_TABLES = (
    "users", "sessions", "accounts", "contents", "publications", "scheduled_jobs",
    "verification_tokens", "notification_subscriptions",
)  # fmt: skip
VERSIONS = [f"{number:04}" for number in range(1, 15)]
ROWS = """
INSERT INTO users VALUES ('u1', 'a@example.org', NULL, 'A', NULL, NULL, 'PRO',
    '2025-01-02 03:04:05.678', '2025-01-02 03:04:05.678');
INSERT INTO sessions VALUES ('s1', 'tok', 'u1', '2025-02-01');
INSERT INTO accounts VALUES ('a1', 'u1', 'TIKTOK', 'open-1', 'name', 'x:y:z', NULL, '2025-01-01',
    'EXPIRED', '2024-01-01', NULL, '{"k": 1}');
INSERT INTO contents VALUES ('c1', 'u1', 'T', NULL, 'content/u1/c1/v.mp4', NULL, 123456789012,
    'video/mp4', 12, 'SCHEDULED', '2026-05-05 05:05', NULL, NULL, '2025-01-01', '2025-01-01');
INSERT INTO scheduled_jobs VALUES ('j1', 'c1', '{a1}', '2026-05-05 05:05', 'Asia/Tokyo', 'HIGH',
    'PENDING', 'bull-7', 0, 3, NULL, NULL, NULL, '2025-01-01', '2025-01-01');
INSERT INTO publications VALUES ('p1', 'c1', 'a1', 'TIKTOK', NULL, 'PUBLISHING', NULL,
    '{"views": 3}', NULL, '2025-01-01', '2025-01-01');
INSERT INTO verification_tokens VALUES ('a@example.org', 'vt', '2025-01-01');
INSERT INTO notification_subscriptions VALUES ('n1', 'u1', 'https://push', 'p', 'k', '2025-01-01');
"""


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    made = make_engine(empty_database_url)
    yield made
    made.dispose()


def run_script(engine: Engine, script: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(script)


def legacy_rows(engine: Engine) -> dict[str, list[str]]:
    """Every old row's old columns, as text."""
    columns = {
        "contents": 'id, "userId", title, description, "filePath", "fileSize", status, "scheduledAt"',
        "publications": 'id, "contentId", "accountId", platform, status, metrics, "updatedAt"',
        "accounts": 'id, "userId", platform, "platformAccountId", "platformUsername", "accessToken", '
        '"refreshToken", "tokenExpiresAt", status, "connectedAt", "lastSyncAt", metadata',
        "scheduled_jobs": 'id, "contentId", "accountIds", "scheduledAt", timezone, priority, status, '
        '"bullJobId", attempts, "maxAttempts", error, "processedAt", "completedAt", "createdAt", '
        '"updatedAt"',
        "users": 'id, email, "emailVerified", name, image, "passwordHash", "subscriptionTier", '
        '"createdAt", "updatedAt"',
    }
    found = {}
    with engine.connect() as connection:
        for table in LEGACY_TABLES:
            what = columns.get(table, f"{table}.*")
            rows = connection.execute(
                text(f"SELECT CAST(ROW({what}) AS text) FROM {table}")  # noqa: S608 - constants
            )
            found[table] = sorted(rows.scalars())
    return found


def catalog(server: PostgresServer, url: str) -> str:
    """The schema as pg_dump writes it, without our version table and pg_dump's own random lines."""
    done = subprocess.run(
        [
            *(str(installation() / "bin" / "pg_dump"), "--schema-only", "--no-owner"),
            *("--exclude-table", migrate.VERSION_TABLE, libpq_url(url)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(
        line for line in done.stdout.splitlines() if line and not line.startswith(("--", "\\"))
    )


def test_an_old_database_is_adopted_without_touching_a_row(
    empty_database_url: str, engine: Engine
) -> None:
    """Additive only: every old row reads as before, and the runbook's SQL works."""
    run_script(engine, LEGACY)
    run_script(engine, ROWS)
    before = legacy_rows(engine)
    assert migrate.upgrade(empty_database_url, world="live") == VERSIONS
    assert legacy_rows(engine) == before
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                'SELECT id, platform, status, "tokenExpiresAt" FROM accounts '
                "WHERE status IN ('EXPIRED','ERROR');"
            )
        ).all()
        stage = connection.execute(text("SELECT stage FROM publications")).scalar_one()
    assert [row.id for row in rows] == ["a1"]
    assert stage is None, "no old row may be claimed before it is adopted"


def test_downgrading_gives_the_old_schema_back_as_it_was(
    empty_database_url: str, engine: Engine, postgres_server: PostgresServer
) -> None:
    """Compared by pg_dump, rows included."""
    run_script(engine, LEGACY)
    run_script(engine, ROWS)
    schema, rows = catalog(postgres_server, empty_database_url), legacy_rows(engine)
    migrate.upgrade(empty_database_url)
    assert catalog(postgres_server, empty_database_url) != schema
    while migrate.downgrade(empty_database_url) is not None:
        pass
    assert catalog(postgres_server, empty_database_url) == schema
    assert legacy_rows(engine) == rows


def test_each_migration_goes_both_ways(
    empty_database_url: str, postgres_server: PostgresServer
) -> None:
    """Down one and up again is the same schema, at every version."""
    migrate.upgrade(empty_database_url)
    newest = catalog(postgres_server, empty_database_url)
    depth = 0
    while migrate.downgrade(empty_database_url) is not None:
        depth += 1
        migrate.upgrade(empty_database_url)
        assert catalog(postgres_server, empty_database_url) == newest
        for _ in range(depth):
            migrate.downgrade(empty_database_url)
    assert depth == len(VERSIONS) - 1


def test_a_fresh_database_gets_the_same_tables_as_an_adopted_one(
    empty_database_url: str, engine: Engine, postgres_server: PostgresServer
) -> None:
    """One schema, whichever way it came."""
    run_script(engine, LEGACY)
    migrate.upgrade(empty_database_url)
    adopted = catalog(postgres_server, empty_database_url)
    name = "fresh_beside_adopted"
    postgres_server.create_database(name)
    try:
        fresh_url = postgres_server.database_url(name)
        migrate.upgrade(fresh_url)
        assert catalog(postgres_server, fresh_url) == adopted
    finally:
        postgres_server.drop_database(name)


def test_the_models_describe_the_migrated_schema(empty_database_url: str, engine: Engine) -> None:
    """No column, type or nullability differs (indexes are the migrations' own)."""
    migrate.upgrade(empty_database_url)
    ignored = {"index", "unique_constraint", "foreign_key_constraint"}
    warnings.filterwarnings("ignore", message="Can't validate argument 'dialect_options'")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_object": lambda _obj, name, kind, _refl, _to: (
                    kind not in ignored and name != migrate.VERSION_TABLE
                ),
            },
        )
        assert compare_metadata(context, Base.metadata) == []


def test_an_interrupted_index_build_is_done_again(empty_database_url: str, engine: Engine) -> None:
    """The concurrent step is resumable: an invalid index is dropped and built anew."""
    migrate.upgrade(empty_database_url)
    while migrate.current(empty_database_url) != "0002":
        migrate.downgrade(empty_database_url)
    run_script(engine, 'CREATE INDEX publications_claimable ON publications ("dueAt")')
    run_script(
        engine,
        "UPDATE pg_index SET indisvalid = false "
        "WHERE indexrelid = 'publications_claimable'::regclass",
    )
    migrate.upgrade(empty_database_url)
    with engine.connect() as connection:
        definition = connection.execute(
            text("SELECT pg_get_indexdef('publications_claimable'::regclass)")
        ).scalar_one()
    assert "nextAttemptAt" in definition


def test_the_plan_names_what_would_be_applied_and_changes_nothing(
    empty_database_url: str, engine: Engine
) -> None:
    """`db upgrade --dry-run` and `--sql`."""
    assert [line[:4] for line in migrate.pending(empty_database_url)] == VERSIONS
    assert "CREATE TABLE publication_steps" in migrate.upgrade_sql(empty_database_url)
    assert migrate.current(empty_database_url) is None
    with engine.connect() as connection:
        tables = connection.execute(
            text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        ).scalar_one()
    assert tables == 0


def test_a_program_refuses_another_schema_version_in_one_line(
    empty_database_url: str, engine: Engine
) -> None:
    """It says both versions and the command."""
    migrate.upgrade(empty_database_url)
    migrate.downgrade(empty_database_url)
    with engine.connect() as connection, pytest.raises(SchemaVersionError) as caught:
        migrate.require_schema(connection)
    assert VERSIONS[-2] in str(caught.value)
    assert "minitik db upgrade" in str(caught.value)


def test_a_database_of_one_world_is_refused_by_the_other(
    empty_database_url: str, engine: Engine
) -> None:
    """Stamped once by the upgrade; a later upgrade does not change it."""
    migrate.upgrade(empty_database_url, world="sandbox")
    migrate.upgrade(empty_database_url, world="live")
    with engine.connect() as connection:
        migrate.require_world(connection, "sandbox")
        with pytest.raises(SchemaVersionError, match="stamped sandbox"):
            migrate.require_world(connection, "live")


def test_rows_with_history_cannot_be_deleted_under_it(database_url: str) -> None:
    """The old foreign keys cascade from users and contents; the ledger stops them."""
    engine = make_engine(database_url)
    try:
        run_script(engine, ROWS)
        run_script(
            engine,
            "INSERT INTO handles VALUES ('h1','p1','a1','TIKTOK','active',0,NULL,NULL,'{}',NULL,"
            "'2025-01-01','2025-01-01')",
        )
        with pytest.raises(Exception, match="handles"):
            run_script(engine, "DELETE FROM users")
    finally:
        engine.dispose()


def test_every_stage_of_the_program_is_allowed_by_the_schema_and_no_other(
    database_url: str,
) -> None:
    """The CHECK and the enum are one list."""
    engine = make_engine(database_url)
    try:
        with engine.connect() as connection:
            definition = connection.execute(
                text(
                    "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
                    "WHERE conname = 'publications_stage_check'"
                )
            ).scalar_one()
    finally:
        engine.dispose()
    assert set(definition.split("'")[1::2]) == {stage.value for stage in Stage}
