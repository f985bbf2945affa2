"""The alarm that needs no dispatcher and no Dagster: raised, escalated, resolved, told once."""

from datetime import timedelta

from sqlalchemy import text

from minitik_dagster.db.types import Platform
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.publishing.alarm import Change, list_alerts, look


def _look(bench: Workbench) -> Change:
    with bench.engine.begin() as connection:
        return look(connection)


def _waiting(
    bench: Workbench,
    *,
    wake_ago: timedelta,
    due_in: timedelta,
    made_ago: timedelta = timedelta(hours=1),
) -> str:
    """A publication that was made, and whose wake was reached, that long ago."""
    account = bench.add_account(Platform.YOUTUBE)
    now = bench.now()
    (publication,) = bench.schedule(
        bench.add_video(2_000), [(account, Platform.YOUTUBE)], now + due_in
    )
    with bench.engine.begin() as connection:
        connection.execute(
            text(
                'UPDATE publications SET "prepareAt" = CAST(:at AS timestamp), '
                '"createdAt" = CAST(:made AS timestamp) WHERE id = :id'
            ),
            {
                "at": (now - wake_ago).replace(tzinfo=None),
                "made": (now - made_ago).replace(tzinfo=None),
                "id": publication,
            },
        )
    return publication


def test_nothing_is_raised_while_nothing_waits(workbench: Workbench) -> None:
    """What waits for less than a minute is no alarm: a run takes some ten seconds to begin."""
    _waiting(workbench, wake_ago=timedelta(seconds=30), due_in=timedelta(hours=1))
    assert _look(workbench) is Change.NONE


def test_a_post_scheduled_with_little_notice_has_not_waited_yet(workbench: Workbench) -> None:
    """Its wake lies before its own making: each of them would page an operator for nothing."""
    _waiting(
        workbench,
        wake_ago=timedelta(minutes=9),
        due_in=timedelta(minutes=1),
        made_ago=timedelta(seconds=5),
    )
    assert _look(workbench) is Change.NONE


def test_what_nobody_takes_is_a_warning_and_once_late_critical(workbench: Workbench) -> None:
    """One open row per key; the level rises when posts should be public already."""
    early = _waiting(workbench, wake_ago=timedelta(minutes=2), due_in=timedelta(hours=1))
    assert _look(workbench) is Change.RAISED
    assert _look(workbench) is Change.NONE
    with workbench.engine.connect() as connection:
        (alert,) = list_alerts(connection)
    assert (alert.key, alert.level) == ("publish.overdue", "warning")
    late = _waiting(workbench, wake_ago=timedelta(minutes=5), due_in=-timedelta(minutes=2))
    assert _look(workbench) is Change.RAISED
    with workbench.engine.connect() as connection:
        (alert,) = list_alerts(connection)
        detail = connection.execute(text("SELECT detail FROM alerts")).scalar_one()
    assert alert.level == "critical"
    assert "minitik dispatcher" in alert.message
    assert detail["publications"] == [late, early]


def test_the_alarm_resolves_when_somebody_takes_the_work(workbench: Workbench) -> None:
    """A lease that lives is somebody; the row keeps its times."""
    publication = _waiting(workbench, wake_ago=timedelta(minutes=2), due_in=timedelta(hours=1))
    assert _look(workbench) is Change.RAISED
    with workbench.engine.begin() as connection:
        connection.execute(
            text(
                'UPDATE publications SET "leaseOwner" = \'someone\', "leaseExpiresAt" = '
                "(statement_timestamp() AT TIME ZONE 'UTC') + interval '1 minute' WHERE id = :id"
            ),
            {"id": publication},
        )
    assert _look(workbench) is Change.RESOLVED
    assert _look(workbench) is Change.NONE
    with workbench.engine.connect() as connection:
        assert list_alerts(connection) == []
        (alert,) = list_alerts(connection, everything=True)
    assert alert.resolved_at is not None


def test_two_processes_that_look_at_once_raise_one_alarm(workbench: Workbench) -> None:
    """The second is turned away while the first one's transaction lasts."""
    _waiting(workbench, wake_ago=timedelta(minutes=2), due_in=timedelta(hours=1))
    with workbench.engine.begin() as first:
        assert look(first) is Change.RAISED
        assert _look(workbench) is Change.NOT_LEADING
    assert _look(workbench) is Change.NONE


def test_a_paused_post_raises_no_alarm(workbench: Workbench) -> None:
    """It waits for a person, not for a dispatcher."""
    _waiting(workbench, wake_ago=timedelta(minutes=2), due_in=timedelta(hours=1))
    with workbench.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO settings (key, value, \"updatedAt\") VALUES ('pause:all', "
                "'{}', statement_timestamp() AT TIME ZONE 'UTC')"
            )
        )
    assert _look(workbench) is Change.NONE
