"""Dagster's own storage in PostgreSQL, with the driver it was written for.

SQLAlchemy 2.1 takes psycopg 3 for a plain `postgresql://`; dagster-postgres sends `NOTIFY` with a
bound value after each event, which psycopg 3 binds on the server and PostgreSQL refuses: every
event of a run would fail. psycopg2 puts the value into the text.
"""

from typing import Any, Self

from dagster._serdes import ConfigurableClassData
from dagster_postgres.storage import DagsterPostgresStorage
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy import make_url


class PostgresStorage(DagsterPostgresStorage):
    """DagsterPostgresStorage for URLs as operators write them (`postgresql://`, `postgres://`)."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """Make the storage from dagster.yaml's `config`."""
        return cls(
            inst_data=inst_data,
            postgres_url=with_psycopg2(pg_url_from_config(config_value)),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
        )


def with_psycopg2(url: str) -> str:
    """The same URL with psycopg2 named as its driver; a driver that is named already stays."""
    parsed = make_url(url.replace("postgres://", "postgresql://", 1))
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg2")
    return parsed.render_as_string(hide_password=False)
