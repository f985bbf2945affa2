"""Makes the stores ready: databases, schema, stamp, bucket. Only what we started is changed."""

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from minitik_dagster.db import migrate
from minitik_dagster.db.engine import parse_database_url
from minitik_dagster.errors import SchemaVersionError
from minitik_dagster.local.errors import LocalStackError
from minitik_dagster.local.plan import Plan
from minitik_dagster.settings import Settings


def create_databases(plan: Plan) -> None:
    """Make the databases of the server we started, where they are missing."""
    if plan.postgres is not None:
        plan.postgres.create_database("dagster")
    if plan.postgres is not None and plan.own_database:
        plan.postgres.create_database("minitik")


def prepare_stores(plan: Plan, settings: Settings) -> list[str]:
    """Migrate what we started ourselves; refuse what others started and is not ready.

    Returns the migrations applied. Raises LocalStackError or SchemaVersionError in one line.
    """
    if plan.s3 is not None:
        plan.s3.create_bucket(plan.environment["AWS_S3_BUCKET"])
    url = settings.require_database_url()
    applied: list[str] = []
    try:
        if plan.own_database:
            applied = migrate.upgrade(
                settings.direct_url.get_secret_value() if settings.direct_url else url,
                world=settings.platform_world,
            )
        _require_fit(url, settings.platform_world)
    except (OperationalError, psycopg.OperationalError):
        raise LocalStackError(
            "PostgreSQL does not answer at the address in DATABASE_URL; start it, or unset "
            "DATABASE_URL to use an embedded one"
        ) from None
    return applied


def _require_fit(url: str, world: str) -> None:
    engine = create_engine(
        parse_database_url(url).url, poolclass=NullPool, connect_args={"prepare_threshold": None}
    )
    try:
        with engine.connect() as connection:
            migrate.require_schema(connection)
            try:
                migrate.require_world(connection, world)
            except SchemaVersionError as error:
                raise LocalStackError(f"{error}; choose another --data-dir") from None
    finally:
        engine.dispose()
