"""Some of a content's posts live, some failed: a state of its own, and the live part is never repeated."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.api.schemas.publishing import ProgressAnswer
from minitik_dagster.db.models import Content
from minitik_dagster.db.types import ContentStatus, Platform
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.publishing.dead_letters import Selection
from minitik_dagster.publishing.replay import replay
from minitik_dagster.scheduling.progress import content_progress
from tests.publishing.running import all_at, run_until

pytestmark = pytest.mark.slow


def test_partial_success_is_told_as_such_and_a_replay_sends_only_what_failed(
    workbench: Workbench,
) -> None:
    """FAILED with errorCode `partial`, never PUBLISHED as a whole; then PUBLISHED, one post each."""
    accounts = [
        (workbench.add_account(platform), platform)
        for platform in (Platform.YOUTUBE, Platform.TIKTOK)
    ]
    workbench.sandbox.add_fault(
        platform="tiktok",
        operation="init",
        kind="status",
        status=403,
        code="spam_risk_user_banned_from_posting",
        count=1,
    )
    video = workbench.add_video()
    ids = workbench.schedule(video, accounts, workbench.now() + timedelta(seconds=4))
    run_until(workbench, ids, all_at("live", "failed"))
    assert {row.platform: row.stage for row in workbench.rows(ids)} == {
        Platform.YOUTUBE: "live",
        Platform.TIKTOK: "failed",
    }
    with Session(workbench.engine) as session:
        told = ProgressAnswer.of(content_progress(session, workbench.user_id, video.content_id))
    assert (told.status, told.error_code) == (ContentStatus.FAILED, "partial")
    assert sorted(post.status.value for post in told.publications) == ["FAILED", "PUBLISHED"]
    assert len(workbench.public_posts(video)) == 1
    with Session(workbench.engine) as session, session.begin():
        replay(session, Selection(platform=Platform.TIKTOK), dry_run=False, actor="operator")
    run_until(workbench, ids, all_at("live"))
    posts = workbench.public_posts(video)
    assert sorted(post["platform"] for post in posts) == ["tiktok", "youtube"]
    with Session(workbench.engine) as session:
        content = session.get_one(Content, video.content_id)
        assert (content.status, content.error_code) == (ContentStatus.PUBLISHED, None)
    with workbench.engine.connect() as connection:
        commits = connection.execute(
            text(
                'SELECT platform::text, count(*) FROM publication_steps WHERE "canPublish" '
                "GROUP BY 1 ORDER BY 1"
            )
        ).all()
    assert [tuple(row) for row in commits] == [("TIKTOK", 1), ("YOUTUBE", 1)]
