"""Schema migrations: upgrade, downgrade by one, current, plan; and the stamp of the world.

Our version table has a name of its own: Dagster keeps an `alembic_version` too. Nothing here runs
by itself against a database we did not start.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from minitik_dagster.db.engine import parse_database_url
from minitik_dagster.db.types import to_db
from minitik_dagster.errors import SchemaVersionError

VERSION_TABLE = "minitik_alembic_version"
# Any constant will do; two programs that migrate at once wait for each other on it.
_LOCK_KEY = 7_203_114_559


def _config(output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output) if output else Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parent / "migrations").replace("%", "%%")
    )
    return config


def head_revision() -> str:
    """Return the schema version this program was made for."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


@contextmanager
def _locked_connection(database_url: str) -> Iterator[Connection]:
    """Yield a connection of our own under a session lock; migrations need a direct connection."""
    target = parse_database_url(database_url)
    options = f'-c search_path="{target.schema}"' if target.schema else ""
    engine = create_engine(
        target.url,
        poolclass=NullPool,
        connect_args={"prepare_threshold": None, "options": options},
    )
    with engine.connect() as guard, engine.connect() as connection:
        guard.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK_KEY})
        guard.commit()
        try:
            yield connection
        finally:
            guard.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK_KEY})
            guard.commit()
    engine.dispose()


def upgrade(database_url: str, *, world: str | None = None) -> list[str]:
    """Bring the database to the newest schema; return the revisions applied, oldest first.

    `world` (`live` or `sandbox`) stamps a database that has no stamp yet; a database stamped
    otherwise keeps its stamp (see `require_world`).
    """
    with _locked_connection(database_url) as connection:
        before = _applied(connection)
        _require_known(before)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
        if world is not None:
            connection.execute(
                text(
                    'INSERT INTO settings (key, value, "updatedAt") '
                    "VALUES ('world', to_jsonb(CAST(:world AS text)), :now) "
                    "ON CONFLICT (key) DO NOTHING"
                ),
                {"world": world, "now": to_db(datetime.now(UTC))},
            )
            connection.commit()
    return _between(before)


def downgrade(database_url: str) -> str | None:
    """Undo the newest migration; return the revision that now stands (None = the old schema)."""
    with _locked_connection(database_url) as connection:
        before = _applied(connection)
        if before is None:
            return None
        _require_known(before)
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, "-1")
        connection.commit()
        return _applied(connection)


def current(database_url: str) -> str | None:
    """Return the database's schema version; None where none was ever applied."""
    target = parse_database_url(database_url)
    options = f'-c search_path="{target.schema}"' if target.schema else ""
    engine = create_engine(
        target.url,
        poolclass=NullPool,
        connect_args={"prepare_threshold": None, "options": options},
    )
    try:
        with engine.connect() as connection:
            return _applied(connection)
    finally:
        engine.dispose()


def pending(database_url: str) -> list[str]:
    """Return the revisions an upgrade would apply, oldest first, with their first doc line."""
    script = ScriptDirectory.from_config(_config())
    names = _between(current(database_url))
    return [f"{name}: {script.get_revision(name).doc}" for name in names]


def upgrade_sql(database_url: str) -> str:
    """Return the SQL that an upgrade from the present version would run."""
    output = io.StringIO()
    before = current(database_url)
    _require_known(before)
    command.upgrade(_config(output), f"{before or 'base'}:head", sql=True)
    return output.getvalue()


def _between(before: str | None) -> list[str]:
    _require_known(before)
    script = ScriptDirectory.from_config(_config())
    revisions = script.iterate_revisions("head", before or "base")
    return [item.revision for item in revisions if item.revision != before][::-1]


def _applied(connection: Connection) -> str | None:
    with connection.begin_nested() if connection.in_transaction() else connection.begin():
        known = connection.execute(
            text("SELECT to_regclass(:name) IS NOT NULL"), {"name": VERSION_TABLE}
        ).scalar_one()
        if not known:
            return None
        row = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
        version = row.scalar_one_or_none()
        return None if version is None else str(version)


def require_schema(connection: Connection) -> None:
    """Refuse, in one clear line, a database whose schema version is not this program's."""
    found, wanted = _applied(connection), head_revision()
    if found != wanted:
        _require_known(found)
        raise SchemaVersionError(
            f"the database's schema is at {found or 'no version'}, this program needs {wanted}; "
            "run: minitik db upgrade"
        )


def _require_known(found: str | None) -> None:
    """Refuse a database that a newer version has migrated: only that one knows the way back."""
    script = ScriptDirectory.from_config(_config())
    if found is not None and found not in {item.revision for item in script.walk_revisions()}:
        raise SchemaVersionError(
            f"the database's schema is at {found}, of a newer version than this program, which knows "
            f"{head_revision()} at most; install the newer one, or go back with its "
            "`minitik db downgrade`"
        )


def stamped_world(connection: Connection) -> str | None:
    """Return what the database is stamped for, `live` or `sandbox`; None before it is."""
    stamp = connection.execute(
        text("SELECT value #>> '{}' FROM settings WHERE key = 'world'")
    ).scalar_one_or_none()
    return None if stamp is None else str(stamp)


def require_world(connection: Connection, world: str) -> None:
    """Refuse a database stamped for other platform hosts than the ones configured."""
    stamp = stamped_world(connection)
    if stamp != world:
        raise SchemaVersionError(
            f"the database is stamped {stamp or 'for no platforms yet'}, but the platform hosts "
            f"point to {world}; refusing to publish from it"
        )
