"""Which accounts a run asks about, in what measure, and who is left alone."""

import asyncio
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session

from minitik_dagster.accounts.probe_due import probe_due, probe_one
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.errors import ConfigurationError, NotFoundError
from minitik_dagster.publishing.disconnect import disconnect
from minitik_dagster.resilience.breaker import FAILURES_TO_OPEN, Breaker
from tests.accounts.probe_runs import (
    asked,
    bad_access,
    now,
    outcome,
    run,
    well_and_withdrawn,
)
from tests.accounts.scene import AccountScene


def test_a_platform_that_is_down_is_left_alone_and_the_others_are_asked(
    scene: AccountScene,
) -> None:
    """Five calls without an answer, then none in this run; its breaker is not opened by a chore."""
    for _ in range(12):
        scene.account(Platform.TIKTOK)
    other = scene.account(Platform.YOUTUBE)
    scene.sandbox.add_fault(
        platform="tiktok", operation="profile", kind="status", status=503, count=99
    )
    [report], _ = run(scene, at_once=1)
    assert (report.failed, report.left, report.ok) == (5, 7, 1)
    assert outcome(scene, other) == "ok"

    async def is_open() -> bool:
        breaker = Breaker(scene.environment["REDIS_URL"])
        try:
            before = await breaker.is_open(Platform.TIKTOK)
            for _ in range(FAILURES_TO_OPEN):
                await breaker.record_failure(Platform.TIKTOK)
            return before
        finally:
            await breaker.aclose()

    assert not asyncio.run(is_open())
    calls = len(asked(scene))
    [report], _ = run(scene)
    assert report.left == 12, "an open breaker is heeded"
    assert len(asked(scene)) == calls


def test_a_used_up_quota_of_our_app_ends_that_platforms_share_of_the_run(
    scene: AccountScene,
) -> None:
    """YouTube's day is over until midnight Pacific: asking on would cost units for nothing."""
    for _ in range(4):
        scene.account(Platform.YOUTUBE)
    scene.sandbox.add_fault(
        platform="youtube", operation="channel", kind="status", status=403, code="quotaExceeded",
        count=9,
    )  # fmt: skip
    [report], _ = run(scene, at_once=1)
    assert (report.failed, report.left) == (1, 3)


def test_calls_stay_inside_the_budget_and_the_rest_is_left_for_the_next_run(
    scene: AccountScene,
) -> None:
    """YouTube's share of the day is bounded: posts need the units more."""
    for _ in range(4):
        scene.account(Platform.YOUTUBE)
    [report], _ = run(scene, budgets={"youtube.probe": 3})
    assert (report.ok, report.left) == (3, 1)
    assert len(asked(scene)) == 3


def test_a_run_takes_a_share_of_many_accounts_and_few_at_once(
    scene: AccountScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once would be due together each day: the longest unasked come first."""
    monkeypatch.setattr("minitik_dagster.accounts.probing._LEAST", 2)
    monkeypatch.setattr("minitik_dagster.accounts.probing._SHARE", 2)
    accounts = [
        scene.account(Platform.TIKTOK, probed_at=now() - timedelta(hours=30 + n)) for n in range(6)
    ]
    [report], _ = run(scene, at_once=2)
    assert report.due == report.ok == 3
    assert report.most_in_flight == 2
    done = [outcome(scene, account) == "ok" for account in accounts]
    assert done == [False, False, False, True, True, True]


def test_concurrent_probes_of_one_account_make_one_call(scene: AccountScene) -> None:
    """Runs side by side: one asks, the others find it asked or being asked."""
    scene.account(Platform.TIKTOK)
    reports, _ = run(scene, at_once=1, runs=5)
    assert len(asked(scene)) == 1
    assert sum(report.ok for report in reports) == 1
    assert (
        sum(report.already for report in reports) + sum(report.due == 0 for report in reports) == 4
    )


def test_accounts_that_are_not_connected_are_left_alone(scene: AccountScene) -> None:
    """Disconnected, ended or half connected: their tokens are not used and nothing is written."""
    gone = [
        scene.account(Platform.TIKTOK, status=status)
        for status in AccountStatus
        if status is not AccountStatus.CONNECTED
    ]
    [report], _ = run(scene)
    assert report.due == 0
    probe = asyncio.run(probe_one(scene.settings, gone[0]))
    assert probe.outcome == "not_connected"
    assert asked(scene) == []
    assert [outcome(scene, account) for account in gone] == [None] * len(gone)


def test_an_account_that_is_disconnected_while_it_is_asked_about_is_not_touched(
    scene: AccountScene,
) -> None:
    """Whatever the platform says then: the answer is about a token that is no longer ours to judge."""
    for account in well_and_withdrawn(scene):
        scene.run('UPDATE accounts SET "probedAt" = now() WHERE id <> :id', id=account)
        scene.run('UPDATE accounts SET "probedAt" = NULL WHERE id = :id', id=account)

        def disconnect_now(account: str = account) -> None:
            with Session(scene.engine) as session, session.begin():
                disconnect(session, account, posts="hold", actor="test")

        [report], _ = run(scene, on_ask=disconnect_now)
        assert (report.due, report.already) == (1, 1)
        assert report.outcomes == {"instagram: changed": 1}
        row = scene.row(account)
        assert row.status is AccountStatus.REVOKED
        assert row.disconnected_at is not None
        assert (row.probed_at, row.probe_outcome, row.last_sync_at) == (None, None, None)
    assert len(asked(scene)) == 2
    assert {told["kind"] for told in scene.notices()} == {"leave_account"}


def test_an_account_that_is_connected_anew_while_it_is_asked_about_keeps_its_new_grant(
    scene: AccountScene,
) -> None:
    """The old token's end is not the new one's: compare-and-swap on the token's version."""
    accounts = well_and_withdrawn(scene)

    def reconnect() -> None:
        scene.run(
            'UPDATE accounts SET "tokenVersion" = "tokenVersion" + 1, "probeOutcome" = \'new\''
        )

    [report], _ = run(scene, at_once=1, on_ask=reconnect)
    assert report.already == 2
    for account in accounts:
        row = scene.row(account)
        assert (row.status, row.probe_outcome) == (AccountStatus.CONNECTED, "new")
    assert scene.notices() == []


def test_a_token_that_no_key_opens_is_reported_and_stops_nobody(scene: AccountScene) -> None:
    """The operator's matter: the account stays CONNECTED and its owner hears nothing."""
    lost = scene.account(Platform.TIKTOK, access_token="not sealed by us")
    other = scene.account(Platform.TIKTOK)
    run(scene, at_once=1)
    assert (outcome(scene, lost), outcome(scene, other)) == ("unreadable", "ok")
    assert scene.row(lost).status is AccountStatus.CONNECTED
    assert scene.notices() == []


def test_a_deployment_with_one_connection_per_pool_probes_all_the_same(
    scene: AccountScene,
) -> None:
    """`connection_limit=1`, as serverless databases are given out: one account after the other."""
    for _ in range(3):
        scene.account(Platform.TIKTOK, access_token=bad_access(scene))
    url = scene.environment["DATABASE_URL"]
    limited = SecretStr(url + ("&" if "?" in url else "?") + "connection_limit=1")
    settings = scene.settings.model_copy(update={"database_url": limited})
    assert asyncio.run(probe_due(settings)).ok == 3


def test_one_account_is_asked_about_by_hand_whether_due_or_not(scene: AccountScene) -> None:
    """An unknown one is an error; a deployment that must not publish asks nobody."""
    account = scene.account(Platform.YOUTUBE, probed_at=now())
    assert asyncio.run(probe_one(scene.settings, account)).outcome == "ok"
    with pytest.raises(NotFoundError):
        asyncio.run(probe_one(scene.settings, "nobody"))
    off = scene.settings.model_copy(update={"minitik_dispatch": "off"})
    with pytest.raises(ConfigurationError, match="MINITIK_DISPATCH"):
        asyncio.run(probe_due(off))
    assert len(asked(scene)) == 1
