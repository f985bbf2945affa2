"""PostgreSQL for sensors and assets: one small pool per process, made when it is first asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

from dagster import ConfigurableResource
from sqlalchemy import Connection, Engine

from minitik_dagster.db.engine import make_engine
from minitik_dagster.settings import load_settings

_MOST: Final = 4
_pools: dict[str, Engine] = {}
_making = Lock()


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


def _engine(database_url: str) -> Engine:
    """Sensors tick every few seconds in one process: a new connection each time costs ten times more."""
    with _making:
        if database_url not in _pools:
            while len(_pools) >= _MOST:
                _pools.pop(next(iter(_pools))).dispose()
            _pools[database_url] = make_engine(database_url, pool_size=1, max_overflow=4)
        return _pools[database_url]


def dispose_engines() -> None:
    """Close every pool of this process; the next use makes a new one."""
    with _making:
        while _pools:
            _pools.popitem()[1].dispose()
