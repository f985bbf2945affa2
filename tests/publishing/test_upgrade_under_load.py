"""The newest migration goes both ways while a dispatcher publishes, and nothing is lost."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import text

from minitik_dagster.db.migrate import current, downgrade, head_revision, upgrade
from minitik_dagster.db.types import Platform
from minitik_dagster.local.workbench import Workbench
from tests.publishing.running import all_at, run_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
POSTS = 30


def test_the_newest_migration_under_a_publishing_dispatcher_loses_nothing(
    workbench: Workbench,
) -> None:
    """Down and up again and again until all posts are public; each exactly once and none failed."""
    url = workbench.settings.require_database_url()
    # Not TikTok: three uploads a minute and account.
    platforms = (Platform.YOUTUBE, Platform.INSTAGRAM, Platform.YOUTUBE)
    accounts = [(workbench.add_account(platform), platform) for platform in platforms]
    start = workbench.now() + timedelta(seconds=8)
    videos = [workbench.add_video(20_000) for _ in range(POSTS)]
    ids = workbench.schedule_many(
        (video, [accounts[number % 3]], start + timedelta(seconds=number / 4))
        for number, video in enumerate(videos)
    )
    ending, rounds = threading.Event(), 0

    def migrate() -> None:
        nonlocal rounds
        while not ending.is_set():
            downgrade(url)
            upgrade(url)
            rounds += 1

    begun: list[threading.Thread] = []

    def meanwhile() -> None:
        # Once the dispatcher has seen the schema that it was made for.
        if not begun and any(row.lease_owner for row in workbench.rows(ids)):
            begun.append(threading.Thread(target=migrate))
            begun[0].start()

    try:
        run_until(workbench, ids, all_at("live"), seconds=120, meanwhile=meanwhile)
    finally:
        ending.set()
        for thread in begun:
            thread.join()
    assert rounds >= 2
    assert current(url) == head_revision()
    for video in videos:
        assert len(workbench.public_posts(video)) == 1


def test_prepared_posts_go_over_a_rollback_with_their_handles(
    workbench: Workbench,
) -> None:
    """As operations does it: stop the programs, a migration back, later forward again, start the programs.

    What was prepared before is committed by the handle that was stored, at its instant and once.
    """
    url = workbench.settings.require_database_url()
    due = workbench.now() + timedelta(seconds=20)
    videos = [workbench.add_video(20_000) for _ in Platform]
    ids = workbench.schedule_many(
        (video, [(workbench.add_account(platform), platform)], due)
        for video, platform in zip(videos, Platform, strict=True)
    )
    run_until(workbench, ids, all_at("prepared"))
    handles = _handles(workbench)
    assert sorted(post for post, _ in handles) == sorted(ids)
    head = head_revision()
    assert downgrade(url) != head
    assert upgrade(url) == [head]
    run_until(workbench, ids, all_at("live"), seconds=60)
    for row in workbench.rows(ids):
        assert row.committed_at is not None
        assert row.committed_at >= due
    assert _handles(workbench) == handles
    for video in videos:
        assert len(workbench.public_posts(video)) == 1


def _handles(workbench: Workbench) -> list[tuple[str, str]]:
    """Every handle that was ever made, with its publication."""
    with workbench.engine.connect() as connection:
        rows = connection.execute(text('SELECT "publicationId", id FROM handles ORDER BY id'))
        return [(row[0], row[1]) for row in rows]
