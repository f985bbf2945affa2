"""What the engine tells programs: in the transaction of the outcome, once, in the documented form."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from minitik_dagster.accounts.token_queries import WITHDRAW
from minitik_dagster.accounts.withdrawals import withdrawal
from minitik_dagster.api.schemas.webhooks import (
    ChangedData,
    DisconnectedData,
    FailedData,
    PartialData,
    PublishedData,
)
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import RevokedError
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.notifications.webhooks import create_webhook
from minitik_dagster.publishing import reviews
from minitik_dagster.publishing.disconnect import disconnect
from tests.publishing.running import all_at, run_until

pytestmark = pytest.mark.slow


def _rows(bench: Workbench, sql: str) -> Sequence[dict[str, Any]]:
    with bench.engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(sql)).mappings()]


def _events(bench: Workbench, kind: str) -> list[dict[str, Any]]:
    return [
        row["data"]
        for row in _rows(bench, "SELECT * FROM events ORDER BY seq")
        if row["type"] == kind
    ]


@pytest.fixture
def webhook(workbench: Workbench) -> str:
    """The person's webhook, which asks for everything; its id."""
    with Session(workbench.engine) as session, session.begin():
        made, _ = create_webhook(
            session,
            workbench.user_id,
            url="http://127.0.0.1:9/",
            events=None,
            description=None,
            seal=lambda secret: secret,
        )
        return made.id


def test_published_failed_and_partial_are_told_once_each_and_every_stage_to_the_streams(
    workbench: Workbench, webhook: str
) -> None:
    """One platform goes live, one refuses: three messages for the webhook, in the documented form."""
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
    youtube, tiktok = workbench.rows(ids)
    if youtube.platform is not Platform.YOUTUBE:
        youtube, tiktok = tiktok, youtube
    [told] = _events(workbench, "publication.published")
    published = PublishedData.model_validate(told)
    assert (published.publication_id, published.platform) == (youtube.id, "youtube")
    assert published.platform_post_id == youtube.platform_post_id is not None
    assert published.verified_at == youtube.verified_at
    [told] = _events(workbench, "publication.failed")
    failed = FailedData.model_validate(told)
    assert failed.publication_id == tiktok.id
    assert failed.error.code == tiktok.error_code == "spam_risk_user_banned_from_posting"
    [told] = _events(workbench, "publication.partial")
    partial = PartialData.model_validate(told)
    assert {item.publication_id for item in partial.publications} == set(ids)
    changes = [
        ChangedData.model_validate(item) for item in _events(workbench, "publication.changed")
    ]
    stages = [item.stage for item in changes if item.publication_id == youtube.id]
    assert stages == [
        Stage.PREPARING, Stage.PREPARED, Stage.COMMITTING, Stage.CONFIRMING, Stage.LIVE,
    ]  # fmt: skip
    assert changes[-1].content_id == video.content_id
    waiting = _rows(workbench, "SELECT * FROM webhook_deliveries ORDER BY type")
    assert [row["type"] for row in waiting] == [
        "publication.failed", "publication.partial", "publication.published",
    ]  # fmt: skip
    assert {row["webhookId"] for row in waiting} == {webhook}


def test_what_a_person_settles_as_published_is_told_and_what_is_sent_again_is_not(
    workbench: Workbench,
) -> None:
    account = workbench.add_account(Platform.TIKTOK)
    video = workbench.add_video()
    first, second = (
        workbench.schedule(video, [(account, Platform.TIKTOK)], workbench.now())[0]
        for _ in range(2)
    )
    with workbench.engine.begin() as connection:
        connection.execute(text("UPDATE publications SET stage = 'review'"))
        reviews.resolve(connection, first, published_as="77", actor="test")
        reviews.resolve(connection, second, published_as=None, actor="test")
    [told] = _events(workbench, "publication.published")
    assert (told["publicationId"], told["platformPostId"]) == (first, "77")
    stages = {
        item["publicationId"]: item["stage"] for item in _events(workbench, "publication.changed")
    }
    assert stages == {first: "live", second: "scheduled"}


def test_an_account_whose_access_ends_is_told_once_whoever_ended_it(
    workbench: Workbench, webhook: str
) -> None:
    """By the platform's refusal and by the person's own disconnect; a second time says nothing."""
    gone, left = (
        workbench.add_account(platform) for platform in (Platform.TIKTOK, Platform.YOUTUBE)
    )
    with workbench.engine.begin() as connection:
        for _ in range(2):
            connection.execute(text(WITHDRAW), withdrawal(gone, RevokedError("access withdrawn")))
    for _ in range(2):
        with Session(workbench.engine) as session, session.begin():
            disconnect(session, left, posts="hold", actor="test")
    told = [
        DisconnectedData.model_validate(item) for item in _events(workbench, "account.disconnected")
    ]
    assert [(item.account_id, item.platform) for item in told] == [
        (gone, "tiktok"), (left, "youtube"),
    ]  # fmt: skip
    assert told[0].reason == "access withdrawn"
    waiting = _rows(workbench, "SELECT type FROM webhook_deliveries")
    assert [row["type"] for row in waiting] == ["account.disconnected"] * 2
    [notice] = _rows(workbench, "SELECT payload FROM outbox WHERE kind = 'account.disconnected'")
    assert notice["payload"]["userId"] == workbench.user_id


def test_what_is_rolled_back_was_never_told(workbench: Workbench, webhook: str) -> None:
    """Event and delivery stand or fall with the outcome."""
    account = workbench.add_account(Platform.YOUTUBE)

    def half_done() -> None:
        with Session(workbench.engine) as session, session.begin():
            disconnect(session, account, posts="hold", actor="test")
            session.execute(text("SELECT 1 / 0"))

    with pytest.raises(DBAPIError):
        half_done()
    assert _rows(workbench, "SELECT 1 FROM events") == []
    assert _rows(workbench, "SELECT 1 FROM webhook_deliveries") == []
