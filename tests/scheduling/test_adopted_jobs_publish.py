"""What was adopted goes out, once, and not while an old worker could send it too."""

import base64
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import text

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.types import Platform
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.scheduling.adopt import adopt
from minitik_dagster.settings import Settings
from tests.publishing.running import all_at, run_until
from tests.scheduling.legacy import OldSystem, load

pytestmark = pytest.mark.slow

OLD_KEY = "cd" * 32


def sealed_by_the_old_system(token: str) -> str:
    """AES-256-GCM as Node's crypto wrote it: base64 of IV, tag and ciphertext, with colons between."""
    iv = os.urandom(12)
    both = AESGCM(bytes.fromhex(OLD_KEY)).encrypt(iv, token.encode(), None)
    return ":".join(base64.b64encode(part).decode() for part in (iv, both[-16:], both[:-16]))


@pytest.fixture
def bench(
    empty_database_url: str,
    redis_url: str,
    s3_endpoint: str,
    s3_bucket: str,
    sandbox: SandboxServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Workbench]:
    """Real servers around a database of the old system."""
    environment = {
        "DATABASE_URL": empty_database_url,
        "REDIS_URL": redis_url,
        "AWS_ENDPOINT_URL_S3": s3_endpoint,
        "AWS_S3_BUCKET": s3_bucket,
        "ENCRYPTION_KEY": "ab" * 32,
        "ENCRYPTION_KEY_PREVIOUS": OLD_KEY,
        "MINITIK_HOME": str(tmp_path / "home"),
        "MINITIK_LEASE_SECONDS": "2",
        **sandbox.environment,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    engine = make_engine(empty_database_url)
    load(engine, empty_database_url)
    engine.dispose()
    made = Workbench(Settings(), sandbox)
    yield made
    made.close()


def adopt_all(bench: Workbench, redis_url: str) -> list[str]:
    adopt(bench.engine, redis_url, tiktok_privacy="PUBLIC_TO_EVERYONE", queue_is_gone=True)
    with bench.engine.connect() as connection:
        return list(connection.execute(text("SELECT id FROM publications ORDER BY id")).scalars())


def test_an_old_pending_job_goes_out_once_on_every_platform(
    bench: Workbench, redis_url: str
) -> None:
    """From the old schema to public by `upgrade` and `adopt` alone."""
    accounts = [bench.add_account(platform) for platform in Platform]
    video = bench.add_video()
    old = OldSystem(bench.engine, bench.user_id, bench.now())
    job = old.job(video.content_id, accounts, scheduledAt=bench.now() + timedelta(seconds=4))
    ids = adopt_all(bench, redis_url)
    run_until(bench, ids, all_at("live"))
    assert adopt_all(bench, redis_url) == ids
    assert sorted(post["platform"] for post in bench.public_posts(video)) == [
        "instagram",
        "tiktok",
        "youtube",
    ]
    assert old.rows("scheduled_jobs")[job]["status"] == "COMPLETED"
    assert old.rows("contents")[video.content_id]["status"] == "PUBLISHED"


def test_tokens_that_the_old_system_sealed_are_refreshed_and_publish_at_once(
    bench: Workbench, redis_url: str
) -> None:
    """Under the old key, without a version or an end: ended ones are renewed when the platform says so."""
    old = OldSystem(bench.engine, bench.user_id, bench.now())
    accounts = []
    for platform in Platform:
        given = bench.sandbox.create_account(platform.value.lower())
        # Instagram's token renews itself while it lives; the others' have ended.
        ended = platform is not Platform.INSTAGRAM
        refresh = given["refreshToken"]
        accounts.append(
            old.account(
                platform.value,
                platformAccountId=given["platformAccountId"],
                accessToken=sealed_by_the_old_system("ended" if ended else given["accessToken"]),
                refreshToken=sealed_by_the_old_system(refresh) if refresh else None,
            )
        )
    video = bench.add_video()
    old.job(video.content_id, accounts, scheduledAt=bench.now() + timedelta(seconds=4))
    run_until(bench, adopt_all(bench, redis_url), all_at("live"))
    assert len(bench.public_posts(video)) == 3
    stored = old.rows("accounts")
    for account in accounts:
        row, alive = stored[account], stored[account]["platform"] == "INSTAGRAM"
        assert row["status"] == "CONNECTED"
        assert (row["refreshOutcome"], row["tokenVersion"]) == (
            (None, None) if alive else ("refreshed", 1)
        )
        assert alive or Vault([bytes.fromhex("ab" * 32)]).open(row["accessToken"])


def test_nothing_of_the_old_system_is_claimed_before_it_is_adopted(bench: Workbench) -> None:
    """An upgraded database with overdue jobs sends nothing by itself."""
    account, video = bench.add_account(Platform.YOUTUBE), bench.add_video()
    old = OldSystem(bench.engine, bench.user_id, bench.now() - timedelta(minutes=1))
    old.job(video.content_id, [account], scheduledAt=bench.now() - timedelta(seconds=30))
    row = old.publication(video.content_id, account, "YOUTUBE", status="QUEUED")
    looks = iter(range(8))
    run_until(bench, [row], lambda _: next(looks, None) is None)
    assert bench.public_posts(video) == []
    assert old.rows()[row]["leaseToken"] in {None, 0}


def test_a_post_waits_while_the_old_queue_still_has_its_job(
    bench: Workbench, redis_url: str
) -> None:
    """The second guard: `bull:publish:<id>` in Redis means an old worker could send it too."""
    account, video = bench.add_account(Platform.YOUTUBE), bench.add_video()
    old = OldSystem(bench.engine, bench.user_id, bench.now())
    old.job(video.content_id, [account], scheduledAt=bench.now(), bullJobId="42")
    ids = adopt_all(bench, redis_url)
    client = redis.Redis.from_url(redis_url)
    client.hset("bull:publish:42", "name", "publish")
    run_until(bench, ids, lambda rows: rows[0].next_attempt_at is not None)
    assert bench.public_posts(video) == []
    client.delete("bull:publish:42")
    client.close()
    with bench.engine.begin() as connection:
        # It looks again after a minute: the test does not wait for that.
        connection.execute(text('UPDATE publications SET "nextAttemptAt" = "dueAt"'))
    run_until(bench, ids, all_at("live"))
    assert len(bench.public_posts(video)) == 1
