"""A database session for one command."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing SQLAlchemy takes a second: `--help` does not need it
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session


@contextmanager
def transaction() -> Iterator["Session"]:
    """Yield a session that commits at the end of the block; refuses another schema version."""
    from sqlalchemy.orm import Session

    with database() as engine, Session(engine) as session, session.begin():
        yield session


@contextmanager
def database() -> Iterator["Engine"]:
    """Yield an engine for work in several transactions; refuses another schema version."""
    from minitik_dagster.db.engine import make_engine
    from minitik_dagster.db.migrate import require_schema
    from minitik_dagster.settings import load_settings

    engine = make_engine(load_settings().require_database_url(), pool_size=1, max_overflow=1)
    try:
        with engine.connect() as connection:
            require_schema(connection)
        yield engine
    finally:
        engine.dispose()
