"""PostgreSQL under examination: reachable, the right schema and stamp, rights, clock, tokens, queue."""

import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from minitik_dagster.accounts.vault import Vault, VaultError
from minitik_dagster.db import tables  # noqa: F401 - the metadata of our own tables
from minitik_dagster.db.engine import parse_database_url
from minitik_dagster.db.instance import BOUND_TO, instance_of
from minitik_dagster.db.migrate import require_schema, require_world
from minitik_dagster.db.models import Base
from minitik_dagster.db.types import from_db
from minitik_dagster.errors import SchemaVersionError
from minitik_dagster.operations import doctor_pasts, publishable
from minitik_dagster.operations.findings import Finding, green, red, yellow
from minitik_dagster.publishing import health
from minitik_dagster.settings import Settings

_SOME_SKEW: Final = timedelta(milliseconds=500)
_TOKENS_TRIED: Final = 50
_LONG: Final = "5 minutes"
_GRANT: Final = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO …"


def look(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """Examine the database; what cannot be asked any more is left out."""
    try:
        with engine.connect() as connection:
            yield from _server(connection, settings)
            yield from _clock(connection, settings)
            if not (yield from _schema(connection, settings)):
                return
            yield from _rights(connection)
            yield from _load(connection)
            yield from _tokens(connection, settings)
            yield from _queue(connection, settings)
            yield from doctor_pasts.old_queue(connection, settings)
            yield from doctor_pasts.restores(connection, settings)
    except DBAPIError as error:
        if isinstance(error.orig, InsufficientPrivilege):
            yield red("database rights", str(error.orig).partition("\n")[0], _GRANT)
            return
        yield red(
            "postgresql",
            f"does not answer ({type(error.orig).__name__}): the API answers 503, nothing is claimed",
            "start it, or correct DATABASE_URL; look at its log and at the number of connections",
        )


def _server(connection: Connection, settings: Settings) -> Iterator[Finding]:
    number = int(connection.execute(text("SHOW server_version_num")).scalar_one())
    if number < 140000:
        yield yellow(
            "postgresql", f"version {number // 10000} is not supported", "upgrade to 14 or newer"
        )
    else:
        yield green("postgresql", "answers")
    target = parse_database_url(settings.require_database_url())
    if target.pooled and settings.direct_url is None:
        yield yellow(
            "pooler",
            "DATABASE_URL goes through a pooler and DIRECT_URL is not set: the queue is polled",
            "set DIRECT_URL to the server itself: for LISTEN and migrations",
        )
    dagster = settings.dagster_postgres_url
    if dagster is not None and _same_database(dagster.get_secret_value(), settings):
        yield red(
            "dagster storage",
            "DAGSTER_POSTGRES_URL is the same database as DATABASE_URL: both keep an alembic_version",
            "give Dagster a database of its own",
        )


def _same_database(dagster_url: str, settings: Settings) -> bool:
    ours, theirs = (
        parse_database_url(url).url for url in (settings.require_database_url(), dagster_url)
    )
    return (ours.host, ours.port, ours.database) == (theirs.host, theirs.port, theirs.database)


def _clock(connection: Connection, settings: Settings) -> Iterator[Finding]:
    before, began = datetime.now(UTC), time.monotonic()
    stored = connection.execute(text("SELECT clock_timestamp() AT TIME ZONE 'UTC'")).scalar_one()
    took = timedelta(seconds=time.monotonic() - began)
    offset = abs(from_db(stored) - (before + took / 2))
    most = timedelta(seconds=settings.minitik_max_skew_seconds)
    fix = "synchronise this machine's clock and the database's (chrony, systemd-timesyncd)"
    if offset > most + took:
        yield red(
            "clock",
            f"this machine's clock is {offset.total_seconds():.1f} s off the database's: a "
            "dispatcher here would not publish",
            fix,
        )
    elif offset > _SOME_SKEW + took:
        yield yellow("clock", f"is {offset.total_seconds():.1f} s off the database's", fix)
    else:
        yield green("clock", "agrees with the database's to half a second")


def _schema(connection: Connection, settings: Settings) -> Generator[Finding, None, bool]:
    """Return whether the tables are those we know: nothing further can be asked of others."""
    try:
        require_schema(connection)
    except SchemaVersionError as error:
        detail, newer, fix = str(error).partition("; install ")
        plan = "minitik db upgrade --dry-run, then minitik db upgrade"
        yield red("schema", detail, f"install {fix}" if newer else plan)
        return False
    yield green("schema", "is this program's")
    try:
        require_world(connection, settings.platform_world)
    except SchemaVersionError as error:
        fix = "point the platform hosts to where this database belongs, or use another database"
        yield red("world", str(error), fix)
    else:
        yield green("world", f"stamped {settings.platform_world}, as the platform hosts are")
    bound = connection.execute(BOUND_TO).scalar_one_or_none()
    if bound is not None and bound != instance_of(settings):
        yield red(
            "instance",
            f"the database belongs to the instance {bound!r}: this one publishes and sends nothing",
            "set MINITIK_INSTANCE to it, or use a database of your own",
        )
    if settings.minitik_dispatch == "off":
        yield yellow(
            "dispatch", "MINITIK_DISPATCH is off: nothing is published or sent from here", ""
        )
    return True


def _rights(connection: Connection) -> Iterator[Finding]:
    lacking = []
    for table in sorted(Base.metadata.tables):
        every = connection.execute(
            text(
                "SELECT has_table_privilege(:table, 'SELECT') AND has_table_privilege(:table, "
                "'INSERT') AND has_table_privilege(:table, 'UPDATE') AND "
                "has_table_privilege(:table, 'DELETE')"
            ),
            {"table": f'"{table}"'},
        )
        if not every.scalar_one():
            lacking.append(table)
    if lacking:
        yield red(
            "database rights",
            f"this user may not read and write: {', '.join(lacking)}",
            _GRANT,
        )
    else:
        yield green("database rights", "all tables can be read and written")
    broken = connection.execute(
        text(
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE NOT i.indisvalid ORDER BY 1"
        )
    ).scalars()
    if names := list(broken):
        yield yellow(
            "indexes",
            f"not valid, their build was interrupted: {', '.join(names)}",
            "REINDEX INDEX CONCURRENTLY …, or minitik db upgrade again",
        )


def _load(connection: Connection) -> Iterator[Finding]:
    row = connection.execute(
        text(
            f"""
            SELECT count(*) FILTER (WHERE state = 'active' AND backend_type = 'client backend'
                AND now() - query_start > interval '30 seconds') AS slow,
                count(*) FILTER (WHERE xact_start < now() - interval '{_LONG}'
                AND backend_type = 'client backend') AS held, count(*) AS used,
                CAST(current_setting('max_connections') AS integer) AS most
            FROM pg_stat_activity
            """  # noqa: S608 - constants
        )
    ).one()
    if row.held:
        yield yellow(
            "transactions",
            f"{row.held} have been open for more than {_LONG}: dead rows pile up",
            "minitik incident names them; end them: SELECT pg_terminate_backend(pid)",
        )
    if row.slow:
        fix = "minitik incident shows them"
        yield yellow("queries", f"{row.slow} have run for more than 30 seconds", fix)
    if row.used > row.most * 0.8:
        yield yellow(
            "connections",
            "more than four fifths of max_connections are in use",
            "a pooler in front of PostgreSQL, or connection_limit in DATABASE_URL",
        )


def _tokens(connection: Connection, settings: Settings) -> Iterator[Finding]:
    if settings.encryption_key is None:
        return
    vault = Vault.from_settings(settings)
    stored = connection.execute(
        text(
            "SELECT \"accessToken\" FROM accounts WHERE status = 'CONNECTED' "
            'AND "accessToken" <> \'\' ORDER BY "connectedAt" DESC LIMIT :limit'
        ),
        {"limit": _TOKENS_TRIED},
    ).scalars()
    closed = old = total = 0
    for sealed in stored:
        total += 1
        try:
            vault.open(sealed)
            old += not vault.is_current(sealed)
        except VaultError:
            closed += 1
    if closed:
        yield red(
            "stored tokens",
            f"{closed} of {total} do not open with ENCRYPTION_KEY or a previous key",
            "put the key that sealed them into ENCRYPTION_KEY_PREVIOUS; lost for good: their owners "
            "connect again",
        )
    elif old:
        yield yellow(
            "stored tokens",
            f"{old} of {total} open with a previous key",
            "minitik tokens rotate-key",
        )
    else:
        yield green("stored tokens", "open with ENCRYPTION_KEY" if total else "none yet")


def _publishing(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Whether a post would go out now; what is asked of the dispatchers stands in its own line."""
    outlook = publishable.look(connection, settings)
    own = {"no_dispatcher", "untaken"}
    held = [
        f"{verdict.platform.value.lower()}: {reason.detail}"
        for verdict in outlook.verdicts
        for reason in verdict.reasons
        if reason.code not in own
    ]
    if held:
        fix = "it goes on by itself when the reason is gone; minitik queues resume ends a pause"
        yield yellow("publishing", f"not now: {'; '.join(held)}", fix)
    else:
        yield green("publishing", "no breaker, pause or used budget is in the way")


def _queue(connection: Connection, settings: Settings) -> Iterator[Finding]:
    alive = connection.execute(
        text(
            'SELECT count(*) FROM dispatchers WHERE "endedAt" IS NULL AND "heartbeatAt" >= '
            "(statement_timestamp() AT TIME ZONE 'UTC') - interval '1 minute'"
        )
    ).scalar_one()
    waiting = health.untaken(connection)
    fix = "start one: minitik dispatcher; or look at Dagster's daemon and its run queue"
    if waiting and settings.minitik_dispatch == "on":
        yield red("dispatchers", f"{waiting.total} posts wait and none takes them", fix)
    elif alive:
        yield green("dispatchers", "alive")
    else:
        yield green("dispatchers", "none is needed now")
    if unknown := health.unknown_long(connection):
        yield yellow(
            "unknown commits",
            f"{unknown.total} for more than an hour",
            "minitik publications reconcile ID; minitik reviews list",
        )
    if stuck := health.stuck(connection):
        yield yellow("stuck posts", f"{stuck.total}", "minitik publications show ID")
    yield from _publishing(connection, settings)
