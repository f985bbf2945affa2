"""Open alerts from the command line."""

from sqlalchemy import Engine, text

from tests.cli.running import Command


def test_a_critical_alert_is_listed_and_exits_1(minitik: Command, on_database: Engine) -> None:
    """So that a shell check can page; nothing open is exit 0."""
    assert minitik.good("alerts", "list").out == "no alert is open\n"
    with on_database.begin() as connection:
        connection.execute(
            text(
                'INSERT INTO alerts (id, key, level, message, "openedAt", "lastSeenAt") SELECT '
                "'one', 'publish.overdue', 'critical', 'two posts wait', now, now "
                "FROM (SELECT statement_timestamp() AT TIME ZONE 'UTC' AS now) clock"
            )
        )
    said = minitik("alerts", "list", "--json")
    assert said.code == 1
    assert [(item["key"], item["resolvedAt"]) for item in said.data] == [("publish.overdue", None)]
