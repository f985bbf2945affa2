"""Who are we to the account: each answer, on each platform where it differs."""

from datetime import timedelta
from typing import Any

from minitik_dagster.accounts.probing import EVERY
from minitik_dagster.db.types import AccountStatus, Platform
from tests.accounts.probe_runs import OURS, PROBE, asked, bad_access, checks, now, outcome, run
from tests.accounts.scene import AccountScene


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
