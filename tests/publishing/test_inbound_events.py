"""TikTok's events shorten the polling: what is sent is asked about at once, and only then believed."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.db.models import Publication
from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import Platform, to_db
from minitik_dagster.ids import new_id
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.platforms.tiktok_events import read_event
from minitik_dagster.publishing import queries
from minitik_dagster.publishing.inbound_events import KEPT, forget_old, receive
from minitik_dagster.publishing.policy import EnginePolicy
from minitik_dagster.publishing.store import Store
from minitik_dagster.publishing.work import Claim
from minitik_dagster.settings import Settings
from tests.api.server import serving
from tests.publishing.running import run_until
from tests.tiktok_events import CLIENT_KEY, event_body

pytestmark = pytest.mark.slow

COMPLETE = "post.publish.complete"
PUBLIC = "post.publish.publicly_available"
GONE = "post.publish.no_longer_publicaly_available"
PUBLISH_ID = "v_pub_file~v2-1.7"
HOUR = timedelta(hours=1)


@pytest.fixture
def engine_environment(engine_environment: dict[str, str]) -> dict[str, str]:
    """After two confirmations the ladder asks no more within a test's life."""
    return engine_environment | {
        "MINITIK_CONFIRM_LADDER": "0.2,3600",
        "MINITIK_LIVE_CHECKS": "3600",
    }


@pytest.fixture
def events(workbench: Workbench) -> Iterator[httpx.Client]:
    """The API, to which the sandbox's TikTok sends its events."""
    with serving(workbench.settings) as client:
        url = f"{client.base_url}".rstrip("/") + "/api/webhooks/tiktok"
        workbench.sandbox.send_events_to(url)
        yield client


def _known_to_all(rows: list[Publication]) -> bool:
    return all(row.stage == "live" and row.platform_post_id and not row.lease_owner for row in rows)


@pytest.mark.parametrize("how", ["handed back", "by a lying sender", "waited for"])
def test_a_post_is_confirmed_when_tiktok_tells_and_not_when_the_ladder_would_ask(
    workbench: Workbench, events: httpx.Client, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live and its public id are known an hour before the ladder's next step.

    So too where each event comes three times and the later one first (what it says is not believed), and
    where a dispatcher waits for the next step instead of handing the post back.
    """
    if how == "by a lying sender":
        url = f"{events.base_url}".rstrip("/") + "/api/webhooks/tiktok"
        workbench.sandbox.send_events_to(url, copies=3, reversed=True)
    if how == "waited for":
        read = EnginePolicy.from_settings

        def patient(settings: Settings, *, resident: bool) -> EnginePolicy:
            return replace(read(settings, resident=resident), wait_in_process=2 * HOUR)

        monkeypatch.setattr(EnginePolicy, "from_settings", patient)
    workbench.sandbox.set_limits(tiktok={"processingMs": 1500, "moderationMs": 1500})
    account = workbench.add_account(Platform.TIKTOK)
    video = workbench.add_video()
    due_at = workbench.now() + timedelta(seconds=1)
    ids = workbench.schedule(video, [(account, Platform.TIKTOK)], due_at)
    run_until(workbench, ids, _known_to_all)
    (row,) = workbench.rows(ids)
    (post,) = workbench.public_posts(video)
    assert row.platform_post_id == post["id"]
    assert row.error is None


class Told:
    """A publication that was sent with a publish_id, and TikTok's events of it."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        account = bench.add_account(Platform.TIKTOK)
        [self.id] = bench.schedule(
            bench.add_video(10_000), [(account, Platform.TIKTOK)], bench.now()
        )
        self.run(
            """INSERT INTO handles (id, "publicationId", "accountId", platform, state, revision,
                "externalId", progress, "createdAt", "updatedAt")
            SELECT :new, id, "accountId", platform, 'used', 0, :publish_id, '{}', "createdAt",
                "createdAt" FROM publications WHERE id = :id""",
            new=new_id(),
            publish_id=PUBLISH_ID,
        )
        [self.open_id] = self.run(
            'SELECT "platformAccountId" FROM accounts a JOIN publications p '
            'ON p."accountId" = a.id WHERE p.id = :id'
        )

    def run(self, sql: str, **values: Any) -> list[Any]:
        """Change or read rows; `:id` is the publication's."""
        with self.bench.engine.begin() as connection:
            result = connection.execute(text(sql), {"id": self.id, **values})
            return list(result.scalars()) if result.returns_rows else []

    def stand(self, stage: str, *, wake: timedelta | None, post_id: str | None = None) -> None:
        """Put it to a stage, to be looked at `wake` from now."""
        at = to_db(self.bench.now() + wake) if wake is not None else None
        self.run(
            'UPDATE publications SET stage = :stage, "nextAttemptAt" = :at, '
            '"platformPostId" = :post WHERE id = :id',
            stage=stage,
            at=at,
            post=post_id,
        )

    def tell(self, name: str, **changed: str) -> str:
        """Let TikTok tell it; return the outcome that is stored with the event."""
        publish_id = changed.get("publish_id", PUBLISH_ID)
        open_id = changed.get("open_id", self.open_id)
        body = event_body(name, open_id, publish_id=publish_id, nonce=new_id())
        with Session(self.bench.engine) as session, session.begin():
            done = receive(
                session, read_event(body), signed=datetime.now(UTC), client_key=CLIENT_KEY
            )
        return done.outcome

    def wake(self) -> datetime | None:
        """When it is looked at next."""
        (row,) = self.bench.rows([self.id])
        return row.next_attempt_at


@pytest.fixture
def told(workbench: Workbench) -> Told:
    """One post."""
    return Told(workbench)


NOW, LATER = "posts asked about at once: 1", "no post waits for it"


def test_only_what_waits_for_tiktoks_word_is_asked_about_at_once(told: Told) -> None:
    """By stage, by what is known already, and by what the event says; the stage itself stays."""
    rows: list[tuple[str, timedelta | None, str | None, str, str]] = [
        ("confirming", HOUR, None, COMPLETE, NOW),
        ("confirming", HOUR, None, "post.publish.failed", NOW),
        ("confirming", HOUR, None, "post.publish.inbox_delivered", NOW),
        ("unknown", HOUR, None, COMPLETE, NOW),
        ("live", HOUR, None, PUBLIC, NOW),
        ("live", None, None, PUBLIC, NOW),
        ("live", HOUR, "7", PUBLIC, LATER),
        ("live", HOUR, "7", GONE, NOW),
        ("live", None, "7", GONE, NOW),
        ("scheduled", HOUR, None, COMPLETE, LATER),
        ("prepared", HOUR, None, COMPLETE, LATER),
        ("committing", HOUR, None, COMPLETE, LATER),
        ("review", None, None, COMPLETE, LATER),
        ("failed", None, None, COMPLETE, LATER),
        ("removed", None, "7", GONE, LATER),
    ]
    for stage, wake, post_id, event, outcome in rows:
        told.stand(stage, wake=wake, post_id=post_id)
        before = told.wake()
        assert told.tell(event) == outcome, (stage, event)
        after = told.wake()
        if outcome == NOW:
            assert after is not None
            assert after <= told.bench.now()
        else:
            assert after == before, (stage, event)
        (row,) = told.bench.rows([told.id])
        assert row.stage == stage


def test_an_event_of_another_account_or_post_leaves_it_alone(told: Told) -> None:
    """The publish_id must be one of that account's."""
    told.stand("confirming", wake=HOUR)
    before = told.wake()
    assert told.tell(COMPLETE, open_id="somebody else") == LATER
    assert told.tell(COMPLETE, publish_id="another") == LATER
    assert told.wake() == before


def test_an_event_during_a_confirmation_is_heeded_when_the_claim_is_handed_back(told: Told) -> None:
    """One that came before the platform was asked is answered already."""

    async def handed_back(event_after_asking: bool) -> datetime | None:
        engine = make_async_engine(told.bench.settings.require_database_url())
        store = Store(engine, new_id())
        try:
            await asyncio.to_thread(told.stand, "confirming", wake=-HOUR)
            [row] = await store.rows(
                queries.CLAIM,
                owner=store.owner,
                lease=timedelta(seconds=30),
                window_end=None,
                since=None,
                full=[],
                limit=5,
            )
            claim = Claim.from_row(row)
            if not event_after_asking:
                assert await asyncio.to_thread(told.tell, COMPLETE) == NOW
            asked_at = told.bench.now()
            if event_after_asking:
                assert await asyncio.to_thread(told.tell, COMPLETE) == NOW
            at = to_db(asked_at + HOUR)
            await store.move(
                claim, Stage.CONFIRMING, release=True, asked_at=asked_at, nextAttemptAt=at
            )
        finally:
            await engine.dispose()
        return told.wake()

    heeded, answered = asyncio.run(handed_back(True)), asyncio.run(handed_back(False))
    assert heeded is not None
    assert answered is not None
    assert heeded <= told.bench.now()
    assert answered > told.bench.now() + HOUR / 2


def test_events_are_forgotten_once_none_of_them_can_be_repeated(told: Told) -> None:
    """By the clock of PostgreSQL, after 7 days: longer than a signature lasts."""
    told.tell(COMPLETE)
    told.tell(PUBLIC)
    told.run(
        'UPDATE inbound_events SET "receivedAt" = "receivedAt" - CAST(:age AS interval) '
        "WHERE event = :event",
        age=KEPT,
        event=COMPLETE,
    )
    with Session(told.bench.engine) as session, session.begin():
        assert forget_old(session) == 1
    assert told.run("SELECT event FROM inbound_events") == [PUBLIC]
