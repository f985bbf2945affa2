"""Who are we to the account: each answer, on each platform where it differs, and who is left alone."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dagster import materialize
from pydantic import SecretStr
from sqlalchemy.orm import Session

from minitik_dagster.accounts import probe_health
from minitik_dagster.accounts.probe_due import probe_due, probe_one
from minitik_dagster.accounts.probes import ProbeReport
from minitik_dagster.accounts.probing import EVERY, Prober
from minitik_dagster.assets.account_health import account_health, account_health_checks
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.errors import ConfigurationError, NotFoundError
from minitik_dagster.platforms.port import PlatformClient
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.publishing.disconnect import disconnect
from minitik_dagster.resilience.breaker import FAILURES_TO_OPEN, Breaker
from minitik_dagster.resilience.limiter import Limiter
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.resources.settings import SettingsResource
from minitik_dagster.settings import LimitName
from tests.accounts.scene import AccountScene

PROBE = {Platform.TIKTOK: "profile", Platform.INSTAGRAM: "profile", Platform.YOUTUBE: "channel"}
OURS = {"details": {"scopes": ["as the platform granted"]}}
HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


def run(
    scene: AccountScene,
    *,
    budgets: dict[LimitName, int] | None = None,
    at_once: int = 4,
    runs: int = 1,
    on_ask: Any = None,
) -> tuple[list[ProbeReport], Sequence[float]]:
    """So many runs side by side, in which waiting takes no time; their reports and the waits."""
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    async def main() -> list[ProbeReport]:
        database_url = scene.environment["DATABASE_URL"]
        engine, guards = (
            make_async_engine(database_url, pool_size=at_once * runs) for _ in range(2)
        )
        redis_url = scene.environment["REDIS_URL"]
        limiter = Limiter(redis_url, budgets=budgets, sleep=wait)
        breaker = Breaker(redis_url)
        try:
            async with PlatformClients(scene.settings) as clients:

                def client(platform: Platform) -> PlatformClient:
                    if on_ask is not None:
                        on_ask()
                    return clients.client(platform)

                probers = [
                    Prober(
                        engine,
                        guards,
                        scene.vault,
                        client,
                        limiter,
                        breaker,
                        at_once=at_once,
                        min_interval=timedelta(seconds=60),
                        run_for=timedelta(seconds=40),
                        sleep=wait,
                    )
                    for _ in range(runs)
                ]
                return await asyncio.gather(*(prober.run() for prober in probers))
        finally:
            await breaker.aclose()
            await limiter.aclose()
            await engine.dispose()
            await guards.dispose()

    return asyncio.run(main()), waits


def asked(scene: AccountScene) -> list[dict[str, Any]]:
    """The questions that the platforms have seen."""
    return [call for call in scene.sandbox.calls() if call["operation"] in PROBE.values()]


def outcome(scene: AccountScene, account_id: str) -> str | None:
    return scene.row(account_id).probe_outcome


def bad_access(scene: AccountScene) -> str:
    """A token that the platforms do not know (any more)."""
    return scene.vault.seal("no-token-of-theirs")


def well_and_withdrawn(scene: AccountScene) -> list[str]:
    """Two accounts whose platforms' answers are settled at once, a good and a bad one."""
    well, withdrawn = (scene.account(Platform.INSTAGRAM) for _ in range(2))
    scene.sandbox.add_fault(
        platform="instagram",
        operation="profile",
        kind="revoke",
        account=scene.row(withdrawn).platform_account_id,
    )
    return [well, withdrawn]


def checks(scene: AccountScene) -> tuple[list[str], list[str]]:
    """The accounts that the two checks find."""
    with scene.engine.connect() as connection:
        return (
            list(probe_health.unprobed(connection).ids),
            list(probe_health.out_of_order(connection).ids),
        )


def test_a_good_answer_is_written_and_asked_for_again_a_day_later(scene: AccountScene) -> None:
    """One call each; `lastSyncAt` is the answer's instant, a changed name is taken over."""
    accounts = [scene.account(platform, platform_username="as before") for platform in Platform]
    [report], _ = run(scene)
    assert report.counts() == {
        "due": 3, "ok": 3, "problems": 0, "failed": 0, "already": 0, "left": 0,
    }  # fmt: skip
    assert len(asked(scene)) == 3
    for account in accounts:
        row = scene.row(account)
        assert row.probe_outcome == "ok"
        assert row.probed_at is not None
        assert row.last_sync_at == row.probed_at
        assert abs(row.probed_at - now()) < timedelta(minutes=1)
        assert row.platform_username not in {None, "as before"}
        assert row.status is AccountStatus.CONNECTED
    assert run(scene)[0][0].due == 0
    assert checks(scene) == ([], [])
    scene.run('UPDATE accounts SET "probedAt" = "probedAt" - CAST(:ago AS interval)', ago=EVERY)
    assert run(scene)[0][0].ok == 3


def test_withdrawn_access_is_found_and_its_owner_told_once(scene: AccountScene) -> None:
    """TikTok and Google only say that a token is not good: one refresh tells. Waiting posts are counted."""
    expected = {
        Platform.TIKTOK: (AccountStatus.EXPIRED, "withdrawn: invalid_grant"),
        Platform.INSTAGRAM: (AccountStatus.REVOKED, "withdrawn: 190/458"),
        Platform.YOUTUBE: (AccountStatus.EXPIRED, "withdrawn: invalid_grant"),
    }
    accounts = {}
    for platform in expected:
        account = accounts[platform] = scene.account(platform)
        scene.post(account, timedelta(days=2))
        scene.sandbox.add_fault(
            platform=platform.value.lower(),
            operation=PROBE[platform],
            kind="revoke",
            account=scene.row(account).platform_account_id,
        )
    other = scene.account(Platform.TIKTOK)
    [report], _ = run(scene, at_once=1)
    assert (report.problems, report.ok) == (3, 1), "a bad account stops nobody"
    for platform, account in accounts.items():
        row = scene.row(account)
        assert (row.status, row.probe_outcome) == expected[platform]
        assert row.probed_at is not None
        assert row.last_sync_at is None
    assert outcome(scene, other) == "ok"
    assert sorted(call["platform"] for call in scene.token_calls()) == ["tiktok", "youtube"]
    told = scene.notices()
    assert {(one["kind"], one["heldPosts"]) for one in told} == {("account.disconnected", 1)}
    assert {one["accountId"]: one["status"] for one in told} == {
        accounts[platform]: status.value for platform, (status, _) in expected.items()
    }
    assert len(told) == 3
    unprobed, out_of_order = checks(scene)
    assert (unprobed, set(out_of_order)) == ([], set(accounts.values()))
    assert run(scene)[0][0].due == 0


def test_a_token_that_merely_ran_out_is_refreshed_once_and_asked_with_again(
    scene: AccountScene,
) -> None:
    """The new tokens are stored as any refresh stores them, and the account is well."""
    accounts = [
        scene.account(platform, access_token=bad_access(scene))
        for platform in (Platform.TIKTOK, Platform.YOUTUBE)
    ]
    [report], _ = run(scene)
    assert report.ok == 2
    assert len(scene.token_calls()) == 2
    for account in accounts:
        row = scene.row(account)
        assert (row.token_version, row.probe_outcome) == (2, "ok")
    assert scene.notices() == []


def test_a_new_token_that_is_refused_too_is_not_refreshed_again(scene: AccountScene) -> None:
    """A fault of the platform or of our app: reported, and no single-use token is burnt on it."""
    account = scene.account(Platform.TIKTOK)
    scene.sandbox.add_fault(
        platform="tiktok", operation="profile", kind="status", status=401,
        code="access_token_invalid", count=9,
    )  # fmt: skip
    [report], _ = run(scene)
    assert report.problems == 1
    assert len(scene.token_calls()) == 1
    row = scene.row(account)
    assert row.status is AccountStatus.CONNECTED
    assert row.probe_outcome == "refused: access_token_invalid"
    assert run(scene)[0][0].due == 0


def test_a_missing_permission_is_told_and_does_not_end_the_account(scene: AccountScene) -> None:
    """What publishing needs may still be there: a publication's own call decides."""
    granted = {
        Platform.TIKTOK: ("video.publish", "scope_not_authorized"),
        Platform.INSTAGRAM: ("instagram_business_content_publish", "10"),
        Platform.YOUTUBE: (
            "https://www.googleapis.com/auth/youtube.upload",
            "insufficientPermissions",
        ),
    }
    accounts = {}
    for platform, (scope, code) in granted.items():
        given = scene.sandbox.create_account(platform.value.lower(), scopes=[scope])
        account = scene.account(
            platform,
            platform_account_id=given["platformAccountId"],
            access_token=scene.vault.seal(given["accessToken"]),
        )
        accounts[account] = f"permission_missing: {code}"
    [report], _ = run(scene)
    assert report.problems == 3
    for account, text in accounts.items():
        row = scene.row(account)
        assert (row.status, row.probe_outcome) == (AccountStatus.CONNECTED, text)
        assert row.last_sync_at is None
    told = scene.notices()
    assert {one["kind"] for one in told} == {"account.unhealthy"}
    assert all("grant every permission" in one["fix"] for one in told)
    assert set(checks(scene)[1]) == set(accounts)
    scene.run('UPDATE accounts SET "probedAt" = NULL')
    run(scene)
    assert len(scene.notices()) == len(told) == 3, "told when it is new, not each day"
    scene.run('UPDATE accounts SET "probedAt" = NULL')
    scene.sandbox.add_fault(platform="tiktok", operation="profile", kind="drop-before")
    run(scene)
    assert {outcome(scene, account) for account in accounts} == set(accounts.values()), (
        "a call without an answer makes no permission whole"
    )


def test_a_token_that_speaks_for_somebody_else_publishes_nothing_more(
    scene: AccountScene,
) -> None:
    """Nothing of the other one is stored; ERROR holds the posts that would have gone to them."""
    mine = {"platform_account_id": "mine", "platform_username": "me", **OURS}
    accounts = [scene.account(platform, **mine) for platform in Platform]
    [report], _ = run(scene)
    assert report.problems == 3
    for account in accounts:
        row = scene.row(account)
        assert row.status is AccountStatus.ERROR
        assert (row.platform_account_id, row.platform_username) == ("mine", "me")
        assert (row.probe_outcome, row.last_sync_at) == ("other_identity", None)
    told = scene.notices()
    assert {(one["kind"], one["status"]) for one in told} == {("account.disconnected", "ERROR")}
    assert all("another account" in one["reason"] for one in told)
    assert set(checks(scene)[1]) == set(accounts)


def test_an_adopted_row_with_another_kind_of_id_is_reported_and_stays_connected(
    scene: AccountScene,
) -> None:
    """The old system may have stored Instagram's app-scoped id: posts that work must go on."""
    account = scene.account(Platform.INSTAGRAM, platform_account_id="app-scoped")
    run(scene)
    row = scene.row(account)
    assert row.status is AccountStatus.CONNECTED
    assert row.probe_outcome == "other_identity"
    assert row.platform_account_id == "app-scoped"
    assert scene.notices() == []
    assert checks(scene) == ([], [account])


def test_a_google_account_without_a_channel_is_told_and_stays_connected(
    scene: AccountScene,
) -> None:
    """A refusal that is no withdrawal: reported with the platform's own code."""
    account = scene.account(Platform.YOUTUBE)
    scene.sandbox.add_fault(
        platform="youtube", operation="channel", kind="status", status=401,
        code="youtubeSignupRequired",
    )  # fmt: skip
    run(scene)
    assert scene.row(account).status is AccountStatus.CONNECTED
    assert outcome(scene, account) == "refused: youtubeSignupRequired"
    [told] = scene.notices()
    assert told["fix"] == "create a channel first"


def test_an_answer_that_says_nothing_leaves_the_account_due_for_the_next_hour(
    scene: AccountScene,
) -> None:
    """`probedAt` and `lastSyncAt` stay, nobody is told; a later run finds it well."""
    faults: dict[str, dict[str, Any]] = {
        "transient: internal_error": {"kind": "status", "status": 503},
        "transient: connection_cut": {"kind": "drop-before"},
        "throttled: rate_limit_exceeded": {"kind": "throttle"},
    }
    account = scene.account(Platform.TIKTOK)
    for text, fault in faults.items():
        scene.sandbox.add_fault(platform="tiktok", operation="profile", **fault)
        [report], _ = run(scene)
        assert (report.failed, report.problems) == (1, 0)
        row = scene.row(account)
        assert (row.status, row.probe_outcome) == (AccountStatus.CONNECTED, text)
        assert (row.probed_at, row.last_sync_at) == (None, None)
    assert scene.notices() == []
    assert checks(scene)[1] == []
    assert run(scene)[0][0].ok == 1


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


def test_the_check_finds_who_was_not_asked_for_a_day_and_two_hours(scene: AccountScene) -> None:
    """Never asked counts from the connection; a disconnected account is nobody's."""
    late = scene.account(Platform.TIKTOK, probed_at=now() - 27 * HOUR)
    scene.account(Platform.TIKTOK, probed_at=now() - 25 * HOUR)
    scene.account(Platform.TIKTOK, connected_at=now())
    never = scene.account(Platform.TIKTOK)
    scene.account(Platform.TIKTOK, probed_at=now() - 99 * HOUR, status=AccountStatus.REVOKED)
    assert checks(scene) == ([never, late], [])
    with scene.engine.connect() as connection:
        table = probe_health.probe_table(connection)
    assert f"| {never} | tiktok | CONNECTED | - | - |" in table


def test_the_asset_shows_each_account_and_its_checks_find_what_is_wrong(
    scene: AccountScene,
) -> None:
    """A table of ids and outcomes; no name, no token."""
    well = scene.account(Platform.TIKTOK)
    bad = scene.account(Platform.YOUTUBE, platform_account_id="mine", **OURS)
    done = materialize(
        [account_health, account_health_checks],
        resources={"settings": SettingsResource(), "database": DatabaseResource()},
    )
    [event] = done.asset_materializations_for_node("account_health")
    told = {name: value.value for name, value in event.metadata.items()}
    assert (told["due"], told["ok"], told["problems"]) == (2, 1, 1)
    table = str(told["accounts"]).splitlines()
    assert table[2].startswith(f"| {bad} | youtube | ERROR | ")
    assert table[2].endswith(" | other_identity |")
    assert table[3].startswith(f"| {well} | tiktok | CONNECTED | ")
    shown = str(told)
    for hidden in (*scene.tokens(well), scene.row(well).platform_username):
        assert str(hidden) not in shown
    assert {check.check_name: check.passed for check in done.get_asset_check_evaluations()} == {
        "accounts_probed_daily": True, "no_account_out_of_order": False,
    }  # fmt: skip


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
