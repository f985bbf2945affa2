"""Tables of what was observed: Dagster's runs and assets as our alerts read them, and lateness by day."""

from datetime import date, datetime

from sqlalchemy import Date, Float, Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from minitik_dagster.db.models import Base
from minitik_dagster.db.types import Platform, UtcTimestamp, pg_enum


class DagsterAsset(Base):
    """When an asset was made last, as Dagster's sensor saw it."""

    __tablename__ = "dagster_assets"

    asset: Mapped[str] = mapped_column(Text, primary_key=True)
    since: Mapped[datetime] = mapped_column(UtcTimestamp)
    materialized_at: Mapped[datetime | None] = mapped_column("materializedAt", UtcTimestamp)
    run_id: Mapped[str | None] = mapped_column("runId", Text)


class DagsterFailure(Base):
    """A run that failed, and the assets that it was to make and did not."""

    __tablename__ = "dagster_failures"

    run_id: Mapped[str] = mapped_column("runId", Text, primary_key=True)
    job: Mapped[str] = mapped_column(Text)
    assets: Mapped[list[str]] = mapped_column(ARRAY(Text))
    failed_at: Mapped[datetime] = mapped_column("failedAt", UtcTimestamp)


class LatenessDay(Base):
    """One platform's lateness on one UTC day of the due instant; milliseconds."""

    __tablename__ = "lateness_days"

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    platform: Mapped[Platform] = mapped_column(pg_enum(Platform), primary_key=True)
    posts: Mapped[int] = mapped_column(Integer)
    within: Mapped[int] = mapped_column(Integer)
    objective_ms: Mapped[int] = mapped_column("objectiveMs", Integer)
    missed: Mapped[int] = mapped_column(Integer)
    at_once: Mapped[int] = mapped_column("atOnce", Integer)
    p50_ms: Mapped[float | None] = mapped_column("p50Ms", Float(53))
    p99_ms: Mapped[float | None] = mapped_column("p99Ms", Float(53))
    max_ms: Mapped[float | None] = mapped_column("maxMs", Float(53))
    measured_at: Mapped[datetime] = mapped_column("measuredAt", UtcTimestamp)
