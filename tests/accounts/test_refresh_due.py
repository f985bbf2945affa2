"""What is due for a refresh, and a run over it: bounded, safe side by side, one account never stops others."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from minitik_dagster.accounts.refresh_due import (
    ATTEMPTS,
    Refresher,
    RefreshReport,
    refresh_due,
    refresh_one,
)
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.errors import ConfigurationError, NotFoundError, SchemaVersionError
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.resilience.limiter import Limiter
from minitik_dagster.settings import LimitName
from tests.accounts.scene import AccountScene

HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


def run(
    scene: AccountScene,
    *,
    budgets: dict[LimitName, int] | None = None,
    at_once: int = 4,
    run_for: timedelta = timedelta(seconds=40),
) -> tuple[RefreshReport, Sequence[float]]:
    """One run in which waiting takes no time; returns its report and what it would have waited."""
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    async def main() -> RefreshReport:
        engine = make_async_engine(scene.environment["DATABASE_URL"], pool_size=at_once + 1)
        limiter = Limiter(scene.environment["REDIS_URL"], budgets=budgets, sleep=wait)
        try:
            async with PlatformClients(scene.settings) as clients:
                return await Refresher(
                    engine,
                    scene.vault,
                    clients.client,
                    limiter,
                    at_once=at_once,
                    min_interval=timedelta(seconds=60),
                    run_for=run_for,
                    sleep=wait,
                ).run()
        finally:
            await limiter.aclose()
            await engine.dispose()

    return asyncio.run(main()), waits


def is_refreshed(scene: AccountScene, account_id: str) -> bool:
    return scene.row(account_id).refreshed_at is not None


@pytest.mark.parametrize(("minutes", "due"), [(29, True), (31, False), (-5, True)])
def test_a_token_is_renewed_half_an_hour_before_its_end(
    scene: AccountScene, minutes: int, due: bool
) -> None:
    """And one that has ended as well: the refresh token may still live."""
    account = scene.account(Platform.TIKTOK, token_expires_at=now() + timedelta(minutes=minutes))
    report, _ = run(scene)
    assert is_refreshed(scene, account) is due
    assert report.counts() == {
        "due": due, "refreshed": due, "already": 0, "failed": 0, "ended": 0, "left": 0,
    }  # fmt: skip


def test_a_token_that_ends_before_a_scheduled_post_does_is_renewed(scene: AccountScene) -> None:
    """Where a new one reaches beyond the post: long-lived tokens, days ahead."""
    common = {
        "token_issued_at": now() - timedelta(days=2),
        "token_expires_at": now() + timedelta(days=5),
    }
    before, without = (scene.account(Platform.YOUTUBE, **common) for _ in range(2))
    scene.post(before, timedelta(days=5, minutes=10))
    scene.post(without, timedelta(days=4))
    run(scene)
    assert is_refreshed(scene, before)
    assert not is_refreshed(scene, without)


def test_a_post_that_no_token_can_reach_yet_does_not_burn_one_at_each_run(
    scene: AccountScene,
) -> None:
    """TikTok's tokens live two hours; tomorrow's post is renewed for when its preparation is near."""
    hours = {
        "token_issued_at": now() - HOUR,
        "token_expires_at": now() + HOUR,
    }
    tomorrow, soon = (scene.account(Platform.TIKTOK, **hours) for _ in range(2))
    scene.post(tomorrow, timedelta(days=1), lead=timedelta(minutes=15))
    scene.post(soon, timedelta(minutes=40), lead=timedelta(minutes=15))
    run(scene)
    assert not is_refreshed(scene, tomorrow)
    assert is_refreshed(scene, soon)
    assert run(scene)[0].due == 0, "the new token covers the post"


def test_instagram_is_renewed_at_half_of_its_life_and_not_within_a_day(
    scene: AccountScene,
) -> None:
    """It has no refresh token: the long-lived one renews itself, 24 hours old at least."""
    day = timedelta(days=1)
    half, young, fresh = (
        scene.account(
            Platform.INSTAGRAM, token_issued_at=now() - age, token_expires_at=now() + left
        )
        for age, left in ((31 * day, 29 * day), (10 * day, 50 * day), (23 * HOUR, 10 * HOUR))
    )
    run(scene)
    assert is_refreshed(scene, half)
    assert not is_refreshed(scene, young)
    assert not is_refreshed(scene, fresh)
    row = scene.row(half)
    assert row.token_expires_at is not None
    assert row.token_expires_at > now() + 59 * day, "as the answer says"


def test_rows_of_an_adopted_database_are_renewed_at_once(scene: AccountScene) -> None:
    """No version, no issue instant, no known end: the first refresh fills them all."""
    legacy = dict.fromkeys(("token_version", "token_issued_at", "token_expires_at"))
    accounts = [scene.account(platform, **legacy) for platform in Platform]
    report, _ = run(scene)
    assert report.refreshed == 3
    for account in accounts:
        row = scene.row(account)
        assert row.token_version == 1
        assert row.token_issued_at is not None
        assert row.token_expires_at is not None
        assert row.refresh_outcome == "refreshed"
    assert run(scene)[0].due == 0


def test_lifetimes_are_the_answers_own(scene: AccountScene) -> None:
    """Access and refresh token; a changed platform needs no change here."""
    scene.sandbox.set_limits(tiktok={"accessTtlSeconds": 4321, "refreshTtlSeconds": 98765})
    account = scene.account(Platform.TIKTOK, token_expires_at=now())
    run(scene)
    row = scene.row(account)
    assert row.token_issued_at
    assert row.token_expires_at
    assert row.refresh_token_expires_at
    assert (row.token_expires_at - row.token_issued_at).total_seconds() == 4321
    assert (row.refresh_token_expires_at - row.token_issued_at).total_seconds() == 98765


def test_a_passing_failure_is_tried_five_times_and_then_left_to_the_schedule(
    scene: AccountScene,
) -> None:
    """The account stays CONNECTED, the waits grow, and the row says what happened."""
    account = scene.account(Platform.TIKTOK, token_expires_at=now())
    before = scene.tokens(account)
    scene.sandbox.add_fault(
        platform="tiktok", operation="token", kind="status", status=503, count=ATTEMPTS
    )
    report, waits = run(scene)
    assert len(scene.token_calls()) == ATTEMPTS
    assert len(waits) == ATTEMPTS - 1
    assert waits[-1] > waits[0]
    assert report.failed == 1
    row = scene.row(account)
    assert row.status is AccountStatus.CONNECTED
    assert row.refresh_failures == ATTEMPTS
    assert row.refresh_next_at is not None
    assert row.refresh_next_at > now()
    assert scene.tokens(account) == before
    assert scene.notices() == []
    scene.run('UPDATE accounts SET "refreshNextAt" = NULL')
    assert run(scene)[0].refreshed == 1
    assert scene.row(account).refresh_failures == 0


@pytest.mark.parametrize("platform", [Platform.TIKTOK, Platform.YOUTUBE])
def test_a_refused_refresh_token_ends_the_account_and_tells_its_owner_once(
    scene: AccountScene, platform: Platform
) -> None:
    """EXPIRED in the same transaction as the notice, which counts the posts that will be held."""
    account = scene.account(
        platform, token_expires_at=now(), refresh_token=scene.vault.seal("not-a-refresh-token")
    )
    scene.post(account, timedelta(days=1))
    report, _ = run(scene)
    assert report.ended == 1
    status = scene.row(account).status
    assert status in {AccountStatus.EXPIRED, AccountStatus.REVOKED}
    (notice,) = scene.notices()
    assert notice.pop("reason")
    assert notice == {
        "kind": "account.disconnected",
        "userId": scene.user_id,
        "accountId": account,
        "platform": platform.value.lower(),
        "status": status.value,
        "heldPosts": 1,
    }
    assert run(scene)[0].due == 0
    assert len(scene.notices()) == 1


def test_one_bad_account_never_stops_the_others(scene: AccountScene) -> None:
    """A value no key opens, a refused token, a platform's error: each is its own account's matter."""
    ends = {"token_expires_at": now()}
    unreadable = scene.account(Platform.TIKTOK, **ends, access_token="not sealed at all")
    refused = scene.account(Platform.TIKTOK, **ends, refresh_token=scene.vault.seal("no"))
    good = [scene.account(platform, **ends) for platform in Platform]
    report, _ = run(scene, at_once=2)
    assert all(is_refreshed(scene, account) for account in good)
    assert (report.refreshed, report.failed, report.ended) == (3, 1, 1)
    assert report.most_in_flight <= 2
    assert scene.row(unreadable).refresh_outcome == "unreadable"
    assert scene.row(unreadable).status is AccountStatus.CONNECTED
    assert scene.row(refused).status is not AccountStatus.CONNECTED


def test_the_budget_of_the_app_is_kept_and_the_rest_is_left_for_the_next_run(
    scene: AccountScene,
) -> None:
    """Paced by the limiter that all processes share."""
    for _ in range(6):
        scene.account(Platform.TIKTOK, token_expires_at=now())
    report, _ = run(scene, budgets={"tiktok.refresh": 4}, run_for=timedelta(seconds=1))
    assert len(scene.token_calls()) <= 8, "two windows at most"
    assert report.refreshed + report.left == 6


def test_a_platform_that_is_down_is_left_alone_for_the_rest_of_the_run(
    scene: AccountScene,
) -> None:
    """Thirty accounts times five attempts would only press on a platform that is on its knees."""
    for _ in range(30):
        scene.account(Platform.TIKTOK, token_expires_at=now())
    other = scene.account(Platform.YOUTUBE, token_expires_at=now())
    scene.sandbox.add_fault(
        platform="tiktok", operation="token", kind="status", status=503, count=1000
    )
    report, _ = run(scene, at_once=2)
    assert sum(call["platform"] == "tiktok" for call in scene.token_calls()) < 30
    assert report.left + report.failed == 30
    assert is_refreshed(scene, other)


def test_an_account_refreshed_by_hand_just_now_is_not_asked_again(scene: AccountScene) -> None:
    """Single-use refresh tokens are not burnt by impatience."""
    account = scene.account(Platform.TIKTOK)
    assert asyncio.run(refresh_one(scene.settings, account))
    assert not asyncio.run(refresh_one(scene.settings, account))
    assert len(scene.token_calls()) == 1
    assert scene.row(account).token_version == 2
    with pytest.raises(NotFoundError):
        asyncio.run(refresh_one(scene.settings, "nobody"))


def test_a_deployment_of_another_world_ends_no_account(
    scene: AccountScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its platforms would refuse every refresh token; MINITIK_DISPATCH=off asks none either."""
    account = scene.account(Platform.TIKTOK, token_expires_at=now())
    scene.run("UPDATE settings SET value = to_jsonb(CAST('live' AS text)) WHERE key = 'world'")
    with pytest.raises(SchemaVersionError, match="stamped live"):
        asyncio.run(refresh_due(scene.settings))
    off = scene.settings.model_copy(update={"minitik_dispatch": "off"})
    with pytest.raises(ConfigurationError, match="MINITIK_DISPATCH"):
        asyncio.run(refresh_due(off))
    assert scene.token_calls() == []
    assert scene.row(account).status is AccountStatus.CONNECTED
