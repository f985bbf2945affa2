"""Indexes on the old system's tables, built CONCURRENTLY: writers are never blocked.

A build that was interrupted leaves an invalid index; it is dropped and built again, so such a step can
be resumed (PostgreSQL documentation, "CREATE INDEX", building indexes concurrently).
"""

from collections.abc import Mapping

from alembic import op
from sqlalchemy import text

_VALID = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


def build(indexes: Mapping[str, str]) -> None:
    """Build each index that is missing or invalid; `{name}` in a definition stands for its name."""
    with op.get_context().autocommit_block():
        for name, definition in indexes.items():
            create = f"CREATE {definition.format(name=name)}"
            if op.get_context().as_sql:
                op.execute(create)
                continue
            state = op.get_bind().execute(_VALID, {"name": name}).scalar_one_or_none()
            if state is False:
                op.execute(f"DROP INDEX CONCURRENTLY {name}")
            if not state:
                op.execute(create)


def drop(indexes: Mapping[str, str]) -> None:
    """Drop the indexes."""
    with op.get_context().autocommit_block():
        for name in indexes:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
