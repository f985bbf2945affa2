"""What the old queue said of each job before it left it, and what a restored database may have forgotten.

Revision ID: 0012
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def _instant(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, TIMESTAMP(precision=3), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "old_jobs",
        sa.Column("bullJobId", sa.Text, primary_key=True),
        sa.Column("jobId", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        _instant("notedAt", nullable=False),
        _instant("removedAt"),
    )
    op.create_table(
        "quarantines",
        sa.Column("id", sa.Text, primary_key=True),
        _instant("since", nullable=False),
        _instant("until", nullable=False),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("mirroredEpoch", sa.BigInteger),
        sa.Column("declaredBy", sa.Text),
        _instant("openedAt", nullable=False),
        _instant("reconciledAt"),
        _instant("releasedAt"),
    )
    # One at a time: whoever finds the database behind a second time finds it in quarantine already.
    op.create_index(
        "quarantines_open",
        "quarantines",
        [sa.text("(1)")],
        unique=True,
        postgresql_where=sa.text('"reconciledAt" IS NULL'),
    )
    # A publication as it stood, so that the operator sees what was put to review and why.
    op.create_table(
        "quarantined_publications",
        sa.Column("quarantineId", sa.Text, sa.ForeignKey("quarantines.id"), primary_key=True),
        sa.Column("publicationId", sa.Text, primary_key=True),
        sa.Column("stage", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("quarantined_publications")
    op.drop_table("quarantines")
    op.drop_table("old_jobs")
