"""Notices: queued with the fact they tell of, or not at all."""

import json

from sqlalchemy import text
from sqlalchemy.engine import Engine

from minitik_dagster.db.engine import make_engine
from minitik_dagster.notifications.notices import ACCOUNT_DISCONNECTED, QUEUE_NOTICE, notice


def queued(engine: Engine) -> list[tuple[str, dict[str, str]]]:
    with engine.connect() as connection:
        rows = connection.execute(text('SELECT kind, payload FROM outbox WHERE "doneAt" IS NULL'))
        return [(row.kind, row.payload) for row in rows]


def test_a_notice_lives_and_dies_with_its_transaction(database_url: str) -> None:
    """Rolled back, nobody hears of it; committed, it waits in the outbox, due at once."""
    engine = make_engine(database_url)
    try:
        with engine.connect() as connection:
            connection.execute(text(QUEUE_NOTICE), notice(ACCOUNT_DISCONNECTED, accountId="a1"))
            connection.rollback()
        assert queued(engine) == []
        with engine.begin() as connection:
            connection.execute(text(QUEUE_NOTICE), notice(ACCOUNT_DISCONNECTED, accountId="a1"))
        assert queued(engine) == [("account.disconnected", {"accountId": "a1"})]
        with engine.connect() as connection:
            due = connection.execute(
                text("SELECT \"dueAt\" <= statement_timestamp() AT TIME ZONE 'UTC' FROM outbox")
            ).scalar_one()
        assert due
    finally:
        engine.dispose()


def test_facts_are_written_as_they_are() -> None:
    """Text in any script survives; each notice has an id of its own."""
    first, second = notice("x", reason="„weg“"), notice("x", reason="„weg“")
    assert json.loads(first["payload"]) == {"reason": "„weg“"}
    assert first["row_id"] != second["row_id"]
