"""DATABASE_URL as operators have it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.db import migrate
from minitik_dagster.db.engine import PREPARE_AFTER, libpq_url, make_engine, parse_database_url
from minitik_dagster.db.models import User
from minitik_dagster.db.types import SubscriptionTier, from_db, to_db


@pytest.mark.parametrize(
    ("url", "schema", "pooled", "limit"),
    [
        ("postgresql://u:p@h/d", None, False, None),
        ("postgres://u:p@h:6543/d?pgbouncer=true&connection_limit=1", None, True, 1),
        ("postgresql://u:p@h/d?schema=public&sslmode=require", None, False, None),
        ("postgresql://u:p@h/d?schema=tenant", "tenant", False, None),
        ("postgresql://u@/d?host=/var/run/postgresql", None, False, None),
    ],
)
def test_prismas_parameters_are_understood(
    url: str, schema: str | None, pooled: bool, limit: int | None
) -> None:
    """They are read, and do not reach libpq, which would refuse them."""
    target = parse_database_url(url)
    assert (target.schema, target.pooled, target.connection_limit) == (schema, pooled, limit)
    plain = libpq_url(url)
    assert plain.startswith("postgresql://")
    assert not any(word in plain for word in ("pgbouncer", "schema=", "connection_limit"))
    assert ("sslmode=require" in plain) == ("sslmode=require" in url)


@pytest.mark.parametrize("extra", ["?schema=tenant", "?schema=tenant&pgbouncer=true"])
def test_another_schema_is_migrated_and_used(empty_database_url: str, extra: str) -> None:
    """`?schema=` is Prisma's search_path; with a pooler it is set in each transaction."""
    plain = make_engine(empty_database_url)
    with plain.begin() as connection:
        connection.execute(text("CREATE SCHEMA tenant"))
    plain.dispose()
    url = empty_database_url + extra
    migrate.upgrade(url)
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            migrate.require_schema(connection)
            where = connection.execute(
                text("SELECT schemaname FROM pg_tables WHERE tablename = 'publications'")
            ).scalar_one()
            timeout = connection.execute(text("SHOW statement_timeout")).scalar_one()
            workers = connection.execute(text("SHOW max_parallel_workers_per_gather")).scalar_one()
    finally:
        engine.dispose()
    assert where == "tenant"
    assert timeout == "30s"
    assert workers == "0", "a worker's start takes longer than our questions"


def test_instants_do_not_drift_in_a_server_of_another_zone(database_url: str) -> None:
    """The server runs in Asia/Kathmandu; what is written in UTC is read in UTC."""
    engine = make_engine(database_url)
    instant = datetime(2026, 3, 29, 1, 30, 0, 123_000, tzinfo=UTC)
    try:
        with Session(engine) as session, session.begin():
            session.add(
                User(
                    id="u1",
                    email="u1@example.org",
                    subscription_tier=SubscriptionTier.FREE,
                    created_at=instant,
                    updated_at=instant,
                )
            )
        with Session(engine) as session:
            found = session.get_one(User, "u1")
            assert found.created_at == instant
            zone = session.execute(text("SHOW TimeZone")).scalar_one()
            raw = session.execute(text('SELECT "createdAt" FROM users')).scalar_one()
            now = session.execute(
                text("SELECT statement_timestamp() AT TIME ZONE 'UTC'")
            ).scalar_one()
    finally:
        engine.dispose()
    assert zone == "Asia/Kathmandu"
    assert from_db(raw) == instant
    assert abs(from_db(now) - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_naive_datetime_is_refused() -> None:
    """It has no instant."""
    with pytest.raises(ValueError, match="naive"):
        to_db(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


@pytest.mark.parametrize(("extra", "kept"), [("", 1), ("?pgbouncer=true", 0)])
def test_what_comes_again_is_prepared_except_behind_a_pooler(
    empty_database_url: str, extra: str, kept: int
) -> None:
    """A pooler hands each transaction another connection; a table that grows under a plan does no harm."""
    engine = make_engine(empty_database_url + extra, prepared=True)
    question = text("SELECT id, name FROM things WHERE id = :id")
    plans = text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%FROM things%'")
    try:
        with engine.connect() as connection:
            connection.execute(text("CREATE TABLE things (id int, name text)"))
            connection.execute(text("INSERT INTO things VALUES (1, 'one')"))
            connection.commit()
            for _ in range(PREPARE_AFTER + 1):
                assert connection.execute(question, {"id": 1}).one() == (1, "one")
            assert connection.execute(plans).scalar_one() == kept
            connection.execute(text("ALTER TABLE things ADD COLUMN more text"))
            connection.commit()
            assert connection.execute(question, {"id": 1}).one() == (1, "one")
    finally:
        engine.dispose()
