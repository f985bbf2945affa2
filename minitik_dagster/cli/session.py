"""A database session for one command."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.migrate import require_schema
from minitik_dagster.settings import load_settings


@contextmanager
def transaction() -> Iterator[Session]:
    """Yield a session that commits at the end of the block; refuses another schema version."""
    engine = make_engine(load_settings().require_database_url(), pool_size=1, max_overflow=1)
    try:
        with Session(engine) as session, session.begin():
            require_schema(session.connection())
            yield session
    finally:
        engine.dispose()
