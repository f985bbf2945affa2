"""PostgreSQL for sensors and assets: one small pool per process, made when it is first asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from dagster import ConfigurableResource
from sqlalchemy import Connection, Engine

from minitik_dagster.db.engine import make_engine
from minitik_dagster.settings import load_settings


class DatabaseResource(ConfigurableResource[None]):
    """Lends connections to DATABASE_URL; holds neither the URL nor a connection itself."""

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that commits at the end of the block."""
        with self.engine().begin() as connection:
            yield connection

    def engine(self) -> Engine:
        """Lend the process's pool to what makes transactions of its own."""
        return _engine(load_settings().require_database_url())


@lru_cache(maxsize=4)
def _engine(database_url: str) -> Engine:
    """Sensors tick every few seconds in one process: a new connection each time costs ten times more."""
    return make_engine(database_url, pool_size=1, max_overflow=4)
