"""PostgreSQL for sensors and assets: a short-lived connection, made when it is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import ConfigurableResource
from sqlalchemy import Connection

from minitik_dagster.db.engine import make_engine
from minitik_dagster.settings import load_settings


class DatabaseResource(ConfigurableResource[None]):
    """Makes connections to DATABASE_URL; keeps none."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that commits at the end of the block."""
        engine = make_engine(load_settings().require_database_url(), pool_size=1, max_overflow=0)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()
