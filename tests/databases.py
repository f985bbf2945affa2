"""Databases for tests: each test has one of its own, as new, that was made for an earlier one.

Copying a template costs a thousand files per test; emptying the tables that a test filled costs a few. A
database whose schema or settings a test changed is dropped instead. Names are never used twice: what still
runs from an earlier test finds no database any more.
"""

import secrets
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from minitik_dagster.local.servers.postgres import PostgresServer

# Whatever DDL changes shows in these; TRUNCATE touches pg_class alone, and no row's number there.
_SCHEMA = """
SELECT concat_ws(' ',
  (SELECT concat(count(*), ' ', max(oid::bigint)) FROM pg_class),
  (SELECT concat(count(*), ' ', max(xmin::text::bigint)) FROM pg_attribute),
  (SELECT concat(count(*), ' ', max(xmin::text::bigint)) FROM pg_constraint),
  (SELECT concat(count(*), ' ', max(xmin::text::bigint)) FROM pg_trigger),
  (SELECT concat(count(*), ' ', max(xmin::text::bigint)) FROM pg_proc),
  (SELECT concat(count(*), ' ', max(xmin::text::bigint)) FROM pg_attrdef),
  (SELECT count(*) FROM pg_namespace),
  (SELECT count(*) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
     WHERE d.datname = current_database()))
"""
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
# Rows may be gone and their numbers be taken.
_COUNTED = """
SELECT DISTINCT c.relname FROM pg_sequences s
  JOIN pg_depend d ON d.objid = format('%I.%I', s.schemaname, s.sequencename)::regclass
    AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  JOIN pg_class c ON c.oid = d.refobjid
WHERE s.schemaname = 'public' AND s.last_value IS NOT NULL
"""
_END_SESSIONS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = %s AND pid <> pg_backend_pid()
"""
_HASH = "SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} t"


@dataclass
class TestDatabases:
    """The databases of one server, made from one template at its newest schema."""

    __test__ = False

    server: PostgresServer
    template: str
    _idle: list[str] = field(default_factory=list)
    _schema: str = ""
    _tables: list[str] = field(default_factory=list)
    _seeds: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def take(self) -> str:
        """Return the name of a database that is as the template."""
        name = f"test_{secrets.token_hex(6)}"
        while self._idle:
            used = self._idle.pop()
            try:
                with psycopg.connect(self.server.url, autocommit=True) as connection:
                    connection.execute(
                        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                            sql.Identifier(used), sql.Identifier(name)
                        )
                    )
            except psycopg.errors.ObjectInUse:
                # A program of the earlier test came back.
                self.server.drop_database(used)
            else:
                return name
        self.server.create_database(name, template=self.template)
        if not self._schema:
            self._learn(name)
        return name

    def give_back(self, name: str) -> None:
        """End the database's sessions and make it as new, or drop it."""
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(_END_SESSIONS, [name])
        try:
            with psycopg.connect(self.server.database_url(name), autocommit=True) as connection:
                clean = _schema(connection) == self._schema
                if clean:
                    self._empty(connection)
        except psycopg.OperationalError:
            clean = False
        if clean:
            self._idle.append(name)
        else:
            self.server.drop_database(name)

    def _learn(self, name: str) -> None:
        with psycopg.connect(self.server.database_url(name), autocommit=True) as connection:
            self._schema = _schema(connection)
            self._tables = [table for (table,) in connection.execute(_TABLES)]
            for table in _filled(connection, self._tables):
                self._seeds[table] = (_hash(connection, table), _copy_out(connection, table))

    def _empty(self, connection: psycopg.Connection) -> None:
        filled = {*_filled(connection, self._tables)} - self._seeds.keys()
        filled |= {table for (table,) in connection.execute(_COUNTED)} - self._seeds.keys()
        filled |= {one for one, (was, _) in self._seeds.items() if _hash(connection, one) != was}
        if filled:
            tables = sql.SQL(", ").join(sql.Identifier(one) for one in sorted(filled))
            connection.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(tables))
        for table, (was, rows) in self._seeds.items():
            if _hash(connection, table) != was:
                copy = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
                with connection.cursor().copy(copy) as writer:
                    writer.write(rows)


def _schema(connection: psycopg.Connection) -> str:
    row = connection.execute(_SCHEMA).fetchone()
    assert row is not None
    return str(row[0])


def _filled(connection: psycopg.Connection, tables: list[str]) -> list[str]:
    each = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(
            sql.Literal(table), sql.Identifier(table)
        )
        for table in tables
    )
    return [table for (table,) in connection.execute(each)]


def _hash(connection: psycopg.Connection, table: str) -> str:
    row = connection.execute(sql.SQL(_HASH).format(sql.Identifier(table))).fetchone()
    assert row is not None
    return str(row[0])


def _copy_out(connection: psycopg.Connection, table: str) -> bytes:
    copy = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))
    with connection.cursor().copy(copy) as reader:
        return b"".join(bytes(block) for block in reader)
