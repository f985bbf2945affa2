"""Re-seals every stored secret under the present key, while everything else goes on.

Batch by batch, each in a transaction of its own: killed anywhere, what is done is done and the next run
goes on with the rest. A value is replaced only if it is still the one that was opened, so a refresh, a
reconnect or a new handle that comes between wins. Tokens, versions and lifetimes stay as they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy import Engine, text

from minitik_dagster.accounts.vault import Vault, VaultError
from minitik_dagster.notifications.notices import SIGN_IN_LINK

_log = structlog.get_logger(__name__)
_BATCH: Final = 200
_NAMED_FAILURES: Final = 20


@dataclass(frozen=True)
class SealedColumn:
    """A column that holds sealed values; `key` is the table's primary key, a text.

    In a column of JSON, `path` is the member's name; `kind` narrows a table to the rows of one kind.
    """

    table: str
    column: str
    key: str = "id"
    path: str = ""
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.table}.{self.column}{self.path and '.'}{self.path}"

    @property
    def value(self) -> str:
        """The SQL that reads the sealed text."""
        return f"\"{self.column}\" ->> '{self.path}'" if self.path else f'"{self.column}"'

    @property
    def assignment(self) -> str:
        """The SQL that puts the text `:new` in its place."""
        if not self.path:
            return f'"{self.column}" = :new'
        return (
            f'"{self.column}" = jsonb_set("{self.column}", '
            f"ARRAY['{self.path}'], to_jsonb(CAST(:new AS text)))"
        )

    @property
    def rows(self) -> str:
        """The SQL condition of the rows that may hold one."""
        return f"kind = '{self.kind}'" if self.kind else "true"


# Every column that holds something sealed by the vault: what is missing here is lost with the old key.
SEALED_COLUMNS: Final = (
    SealedColumn("accounts", "accessToken"),
    SealedColumn("accounts", "refreshToken"),
    SealedColumn("handles", "sealed"),
    SealedColumn("oauth_states", "codeVerifier"),
    SealedColumn("webhooks", "secret"),
    SealedColumn("outbox", "payload", path="token", kind=SIGN_IN_LINK),
)


@dataclass
class ColumnReport:
    """What became of one column's values; `unreadable` names rows (at most 20) no key opens."""

    column: str
    resealed: int = 0
    already: int = 0
    failed: int = 0
    unreadable: list[str] = field(default_factory=list)


def reseal(engine: Engine, vault: Vault, *, batch: int = _BATCH) -> Iterator[ColumnReport]:
    """Re-seal column by column, yielding each column's report when it is done.

    Safe at any time, side by side, and again: what is under the present key is only read.
    """
    for column in SEALED_COLUMNS:
        report = ColumnReport(str(column))
        after = ""
        while rows := _page(engine, column, after, batch):
            _reseal_page(engine, vault, column, rows, report)
            after = rows[-1][0]
        yield report


def _page(engine: Engine, column: SealedColumn, after: str, limit: int) -> list[tuple[str, str]]:
    with engine.begin() as connection:
        found = connection.execute(
            text(
                f"SELECT {column.key}, {column.value} FROM {column.table} "  # noqa: S608 - SEALED_COLUMNS
                f"WHERE {column.rows} AND {column.key} > :after AND {column.value} <> '' "
                f"ORDER BY {column.key} LIMIT :limit"
            ),
            {"after": after, "limit": limit},
        )
        return [(row[0], row[1]) for row in found]


def _reseal_page(
    engine: Engine,
    vault: Vault,
    column: SealedColumn,
    rows: list[tuple[str, str]],
    report: ColumnReport,
) -> None:
    old: list[tuple[str, str]] = []
    for row_id, stored in rows:
        try:
            if vault.is_current(stored):
                report.already += 1
            else:
                vault.open(stored)
                old.append((row_id, stored))
        except VaultError:
            report.failed += 1
            if len(report.unreadable) < _NAMED_FAILURES:
                report.unreadable.append(row_id)
            _log.error("reseal.unreadable", column=report.column, row=row_id)
    # A row that a refresh holds is waited for with no other row locked meanwhile: alone, after the
    # others of its page.
    free = _take(engine, vault, column, old) if old else set()
    report.resealed += len(free)
    for row_id, stored in old:
        if row_id not in free:
            done = _replace(engine, vault, column, row_id, stored)
            report.resealed += done
            report.already += not done


def _take(
    engine: Engine, vault: Vault, column: SealedColumn, old: list[tuple[str, str]]
) -> set[str]:
    """Re-seal those rows of a page that nobody holds, in one transaction; return their ids."""
    with engine.begin() as connection:
        locked = connection.execute(
            text(
                f"SELECT {column.key}, {column.value} FROM {column.table} "  # noqa: S608 - SEALED_COLUMNS
                f"WHERE {column.key} = ANY(:ids) ORDER BY {column.key} FOR UPDATE SKIP LOCKED"
            ),
            {"ids": [row_id for row_id, _ in old]},
        )
        present = {row[0]: row[1] for row in locked}
        mine = [(row_id, stored) for row_id, stored in old if present.get(row_id) == stored]
        if mine:
            connection.execute(
                text(_update(column)),
                [
                    {"id": row_id, "old": stored, "new": vault.seal(vault.open(stored))}
                    for row_id, stored in mine
                ],
            )
    return {row_id for row_id, _ in mine}


def _replace(engine: Engine, vault: Vault, column: SealedColumn, row_id: str, stored: str) -> bool:
    """Re-seal one value that somebody held or changed; False when it needs it no longer."""
    while True:
        values = {"id": row_id, "old": stored, "new": vault.seal(vault.open(stored))}
        with engine.begin() as connection:
            if connection.execute(text(_update(column)), values).rowcount == 1:
                return True
            found = connection.execute(
                text(
                    f"SELECT {column.value} FROM {column.table} "  # noqa: S608 - SEALED_COLUMNS
                    f"WHERE {column.key} = :id"
                ),
                {"id": row_id},
            ).scalar_one_or_none()
        if not found or vault.is_current(found):
            return False
        # Sealed by a process that knows only the old key, or re-read before a writer's commit.
        stored = found


def _update(column: SealedColumn) -> str:
    return (
        f"UPDATE {column.table} SET {column.assignment} "  # noqa: S608 - SEALED_COLUMNS
        f"WHERE {column.key} = :id AND {column.value} = :old"
    )
