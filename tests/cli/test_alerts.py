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


def test_thresholds_are_listed_set_and_reset(minitik: Command, on_database: Engine) -> None:
    """The runbook's numbers until an operator sets others."""
    listed = {item["key"]: item for item in minitik.good("alerts", "thresholds", "--json").data}
    assert (listed["publish.failed"]["warning"], listed["publish.failed"]["critical"]) == (5, 20)
    said = minitik.good("alerts", "set", "publish.failed", "--warning", "2", "--critical", "4").out
    assert said == "publish.failed: warning above 2, critical above 4\n"
    said = minitik.good("alerts", "reset", "publish.failed").out
    assert said == "publish.failed: warning above 5, critical above 20\n"
    wrong = ("alerts", "set", "publish.failed", "--warning", "inf", "--critical", "inf")
    assert "warning inf" in minitik.refused(*wrong, code=2)
    assert "no threshold" in minitik.refused("alerts", "reset", "nothing")
