"""Connections to PostgreSQL from a DATABASE_URL as operators have it.

Understands Prisma's `schema`, `pgbouncer` and `connection_limit` parameters. Works behind a
transaction-mode pooler: no server-side prepared statements there, and what a session would set is set
with SET LOCAL in each transaction (SQLAlchemy documentation, "PostgreSQL", psycopg dialect;
PgBouncer documentation, "Features").
"""

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

STATEMENT_TIMEOUT_MS = 30_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000
# Parallel workers are off: our questions read few rows of large tables, and starting workers for one
# takes ten times as long as its answer (0.5 ms against 5 ms for the due query over 5 million jobs).
_SESSION_SETTINGS = {
    "statement_timeout": STATEMENT_TIMEOUT_MS,
    "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_MS,
    "max_parallel_workers_per_gather": 0,
}
# A connection given back no longer ago than this is used without asking whether it still stands.
TRUSTED_IDLE_SECONDS = 1.0
# A statement is prepared on a connection that has run it as often: a request's few statements are planned
# once, not each time, which is half of what they cost the server (psycopg documentation, "Prepared
# statements"). Whether a plan for all values is good enough stays PostgreSQL's judgement ("PREPARE", Notes).
PREPARE_AFTER = 5
_IDLE_SINCE = "minitik_idle_since"
_POOLED = "minitik_pooled"
_PRISMA_ONLY = ("schema", "pgbouncer", "connection_limit", "pool_timeout", "connect_timeout")


@dataclass(frozen=True)
class DatabaseTarget:
    """A database as a URL for SQLAlchemy plus what Prisma's parameters ask for."""

    url: URL
    schema: str | None
    pooled: bool
    connection_limit: int | None


def parse_database_url(text: str) -> DatabaseTarget:
    """Read `postgres://` or `postgresql://` with Prisma's parameters; sockets by `?host=/…`."""
    url = make_url(text.replace("postgres://", "postgresql://", 1))
    query = dict(url.query)

    def one(name: str) -> str | None:
        value = query.get(name)
        return value if isinstance(value, str) else (value[-1] if value else None)

    schema, pooled, limit = one("schema"), one("pgbouncer") == "true", one("connection_limit")
    timeout = one("connect_timeout")
    kept = {name: value for name, value in query.items() if name not in _PRISMA_ONLY}
    kept["connect_timeout"] = timeout or "10"
    return DatabaseTarget(
        url=url.set(drivername="postgresql+psycopg", query=kept),
        schema=None if schema in {None, "public"} else schema,
        pooled=pooled,
        connection_limit=int(limit) if limit and limit.isdigit() else None,
    )


def libpq_url(text: str) -> str:
    """Return the URL with Prisma's parameters removed, as psycopg itself and psql take it."""
    target = parse_database_url(text)
    return target.url.set(drivername="postgresql").render_as_string(hide_password=False)


def _session_settings(idle_in_transaction: timedelta | None = None) -> dict[str, int]:
    if idle_in_transaction is None:
        return _SESSION_SETTINGS
    milliseconds = idle_in_transaction // timedelta(milliseconds=1)
    return {**_SESSION_SETTINGS, "idle_in_transaction_session_timeout": milliseconds}


def _connect_args(
    target: DatabaseTarget, settings: dict[str, int], *, prepared: bool = False
) -> dict[str, Any]:
    prepare = PREPARE_AFTER if prepared and not target.pooled else None
    arguments: dict[str, Any] = {"prepare_threshold": prepare}
    if not target.pooled:
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        if target.schema:
            options += f' -c search_path="{target.schema}"'
        arguments["options"] = options
    return arguments


def _set_local_per_transaction(
    engine: Engine, target: DatabaseTarget, settings: dict[str, int]
) -> None:
    statements = [f"SET LOCAL {name} = {value}" for name, value in settings.items()]
    if target.schema:
        quoted = target.schema.replace('"', '""')
        statements.append(f'SET LOCAL search_path = "{quoted}"')
    command = "; ".join(statements)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(command)


def _ping_after_idling(engine: Engine) -> None:
    """Ask a connection that lay idle whether it still stands, before it is used.

    SQLAlchemy's own pre-ping asks at each use, a round trip more for every transaction of a busy
    program ("Connection Pooling", custom pessimistic ping). One that is dead speaks for all of its age.
    """

    @event.listens_for(engine, "checkin")
    def _checked_in(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info[_IDLE_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _checked_out(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        since = record.info.get(_IDLE_SINCE)
        if since is None or time.monotonic() - since < TRUSTED_IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error


def make_engine(
    database_url: str, *, pool_size: int = 5, max_overflow: int = 10, prepared: bool = False
) -> Engine:
    """Make a synchronous engine (API, CLI, assets). Nothing connects before its first use.

    `prepared`: statements that come again and again are prepared, except behind a pooler.
    """
    target = parse_database_url(database_url)
    engine = create_engine(
        target.url,
        pool_size=min(pool_size, target.connection_limit or pool_size),
        max_overflow=0 if target.connection_limit else max_overflow,
        connect_args=_connect_args(target, _session_settings(), prepared=prepared),
        # An error's text names the statement; its values may be a person's or sealed.
        hide_parameters=True,
    )
    _ping_after_idling(engine)
    if target.pooled:
        engine.update_execution_options(**{_POOLED: True})
        _set_local_per_transaction(engine, target, _session_settings())
    return engine


def reading(engine: Engine) -> Engine:
    """Return the same pool for reading alone: each statement stands by itself, without BEGIN and COMMIT.

    It sees what a transaction would, whose statements are snapshots of their own as well (PostgreSQL
    documentation, "Read Committed Isolation Level"), for two round trips less. Behind a pooler the settings
    of a session are made per transaction: there it is the engine as it is.
    """
    if engine.get_execution_options().get(_POOLED):
        return engine
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def make_async_engine(
    database_url: str,
    *,
    pool_size: int = 8,
    pool_timeout: float = 30.0,
    idle_in_transaction: timedelta | None = None,
) -> AsyncEngine:
    """Make an engine for the asyncio dispatcher. Nothing connects before its first use.

    `pool_timeout` is how many seconds a statement may wait for one of the connections;
    `idle_in_transaction` how long a transaction may stand still before the server ends it (60 s).
    """
    target = parse_database_url(database_url)
    settings = _session_settings(idle_in_transaction)
    engine = create_async_engine(
        target.url,
        pool_size=min(pool_size, target.connection_limit or pool_size),
        max_overflow=0,
        pool_timeout=pool_timeout,
        pool_pre_ping=False,
        connect_args=_connect_args(target, settings),
        # An error's text names the statement; its values may be a person's or sealed.
        hide_parameters=True,
    )
    if target.pooled:
        _set_local_per_transaction(engine.sync_engine, target, settings)
    return engine
