"""Tables about where a database comes from: the old queue it took over, a backup it was restored from."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from minitik_dagster.db.models import Base
from minitik_dagster.db.types import UtcTimestamp


class OldJob(Base):
    """What the old queue said of a job before its BullMQ job was removed there."""

    __tablename__ = "old_jobs"

    bull_job_id: Mapped[str] = mapped_column("bullJobId", Text, primary_key=True)
    job_id: Mapped[str] = mapped_column("jobId", Text)
    state: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)
    noted_at: Mapped[datetime] = mapped_column("notedAt", UtcTimestamp)
    removed_at: Mapped[datetime | None] = mapped_column("removedAt", UtcTimestamp)


class Quarantine(Base):
    """A span of which this database may have forgotten what happened: it is behind its mirror."""

    __tablename__ = "quarantines"

    id: Mapped[str] = mapped_column(Text, primary_key=True)
    since: Mapped[datetime] = mapped_column(UtcTimestamp)
    until: Mapped[datetime] = mapped_column(UtcTimestamp)
    epoch: Mapped[int | None] = mapped_column(BigInteger)
    mirrored_epoch: Mapped[int | None] = mapped_column("mirroredEpoch", BigInteger)
    declared_by: Mapped[str | None] = mapped_column("declaredBy", Text)
    opened_at: Mapped[datetime] = mapped_column("openedAt", UtcTimestamp)
    reconciled_at: Mapped[datetime | None] = mapped_column("reconciledAt", UtcTimestamp)
    released_at: Mapped[datetime | None] = mapped_column("releasedAt", UtcTimestamp)


class QuarantinedPublication(Base):
    """A publication that fell due in such a span, and the stage it stood in."""

    __tablename__ = "quarantined_publications"

    quarantine_id: Mapped[str] = mapped_column(
        "quarantineId", Text, ForeignKey("quarantines.id"), primary_key=True
    )
    publication_id: Mapped[str] = mapped_column("publicationId", Text, primary_key=True)
    stage: Mapped[str] = mapped_column(Text)
