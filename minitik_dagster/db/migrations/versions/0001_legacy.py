"""The old system's schema: made where there is none, left as it is where there is one.

Revision ID: 0001
"""

from pathlib import Path

from alembic import op
from sqlalchemy import text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_LEGACY = Path(__file__).parent.parent / "legacy.sql"


def upgrade() -> None:
    offline = op.get_context().as_sql
    if not offline:
        present = op.get_bind().execute(text("SELECT to_regclass('publications') IS NOT NULL"))
        if present.scalar_one():
            return
    for statement in _LEGACY.read_text(encoding="utf-8").split(";\n"):
        if statement.strip():
            op.execute(text(statement))


def downgrade() -> None:
    """Leave the old system's tables and their rows: they are not ours to drop."""
