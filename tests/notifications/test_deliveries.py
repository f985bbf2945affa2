"""Webhooks are sent signed, at least once, for a day; no target delays another, no process's end loses one."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from standardwebhooks import Webhook as Verifier

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_async_engine, make_engine
from minitik_dagster.local.ports import free_port
from minitik_dagster.notifications import webhook_queries as queries
from minitik_dagster.notifications.deliveries import DeliverySender, wait_after
from minitik_dagster.notifications.events import CONTENT_READY, forget_events, tell
from minitik_dagster.notifications.webhooks import create_webhook, resend
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene
from tests.notifications.receiver import PATIENCE_SECONDS, Receiver, receiving

VAULT = Vault([bytes(32)])
READY = {"contentId": "c1", "mimeType": "video/mp4", "fileSize": "7", "duration": 1.5}


class Bench:
    """A person with webhooks, and senders for them."""

    def __init__(self, scene: Scene, url: str) -> None:
        self.scene = scene
        self.url = url
        self.person = scene.person()

    def webhook(self, url: str, events: list[str] | None = None) -> tuple[str, str]:
        """A webhook of the person's: its id and its secret."""
        with Session(self.scene.engine) as session, session.begin():
            made, secret = create_webhook(
                session,
                self.person.id,
                url=url,
                events=events,
                description=None,
                seal=VAULT.seal,
            )
            return made.id, secret

    def tell(self, person: Person | None = None) -> None:
        """Something happens."""
        with Session(self.scene.engine) as session, session.begin():
            tell(session, (person or self.person).id, CONTENT_READY, **READY)

    def send(self, **more: Any) -> int:
        """One look of one process, to its end; return how many were claimed."""

        async def once() -> int:
            engine = make_async_engine(self.url, pool_size=3)
            sender = DeliverySender(engine, Settings(), VAULT.open, **more)
            try:
                claimed = await sender.work()
                await sender.idle()
                return claimed
            finally:
                await engine.dispose()

        return asyncio.run(once())

    def hasten(self) -> None:
        """Let time pass until what waits is due."""
        self.scene.run('UPDATE webhook_deliveries SET "dueAt" = "createdAt"')

    def only(self) -> dict[str, Any]:
        """The one delivery."""
        [row] = self.scene.rows("SELECT * FROM webhook_deliveries")
        return row

    def tries(self) -> list[dict[str, Any]]:
        """Every attempt, in order."""
        return list(
            self.scene.rows('SELECT * FROM webhook_attempts ORDER BY "deliveryId", attempt')
        )


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    """A database and a person in it."""
    engine = make_engine(database_url, pool_size=10)
    yield Bench(Scene(engine), database_url)
    engine.dispose()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Where the person's events go."""
    with receiving() as made:
        yield made


def test_a_message_is_signed_as_standard_webhooks_say(bench: Bench, receiver: Receiver) -> None:
    """The reference library verifies it, and so does the standard's text by hand; `whsec_` is no part."""
    _, secret = bench.webhook(receiver.url)
    bench.tell()
    assert bench.send() == 1
    [request] = receiver.requests
    message = Verifier(secret).verify(request.body, request.headers)
    assert set(message) == {"type", "timestamp", "data"}
    assert (message["type"], message["data"]) == (CONTENT_READY, READY)
    assert abs(datetime.fromisoformat(message["timestamp"]) - datetime.now(UTC)) < timedelta(
        hours=1
    )
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode()
    digest = hmac.digest(base64.b64decode(secret[6:]), signed + request.body, hashlib.sha256)
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert request.headers["content-type"] == "application/json"
    assert request.path == "/hook?key=sesame"
    row = bench.only()
    assert (row["state"], row["attempts"], row["statusCode"]) == ("delivered", 1, 204)
    assert bench.send() == 0


def test_only_the_persons_own_events_of_the_types_asked_for_are_sent(
    bench: Bench, receiver: Receiver
) -> None:
    bench.webhook(receiver.url, ["publication.failed"])
    bench.tell()
    bench.webhook(receiver.url)
    bench.tell(bench.scene.person())
    assert bench.scene.rows("SELECT 1 FROM webhook_deliveries") == []
    bench.tell()
    assert len(bench.scene.rows("SELECT 1 FROM webhook_deliveries")) == 1


def test_a_refusal_is_tried_again_under_the_same_id_with_the_same_body(
    bench: Bench, receiver: Receiver
) -> None:
    bench.webhook(receiver.url)
    receiver.answers = [500, 503, 200]
    bench.tell()
    for _ in range(3):
        assert bench.send() == 1
        assert bench.send() == 0, "it is not due yet"
        bench.hasten()
    first, second, third = receiver.requests
    assert first.headers["webhook-id"] == third.headers["webhook-id"] == bench.only()["id"]
    assert first.body == second.body == third.body
    assert [item["statusCode"] for item in bench.tries()] == [500, 503, 200]
    assert [item["error"] for item in bench.tries()] == [
        "it answered 500", "it answered 503", None,
    ]  # fmt: skip
    assert bench.only()["state"] == "delivered"
    [webhook] = bench.scene.rows("SELECT * FROM webhooks")
    assert webhook["failingSince"] is None


def test_the_waits_grow_to_two_hours_and_fill_a_day() -> None:
    random = Random(7)
    waits = [wait_after(attempt, random) for attempt in range(1, 30)]
    assert timedelta(seconds=4) <= waits[0] <= timedelta(seconds=6)
    assert max(waits) <= timedelta(hours=2.4)
    assert 12 <= sum(1 for n in range(29) if sum(waits[:n], timedelta(0)) < timedelta(days=1)) <= 22


def test_after_a_day_it_is_a_dead_letter_and_a_resend_has_a_day_of_its_own(
    bench: Bench, receiver: Receiver
) -> None:
    """The last attempt is due a day after the first; nothing is sent after it unless asked for."""
    webhook_id, _ = bench.webhook(receiver.url)
    receiver.answers = [500]
    bench.tell()
    bench.scene.run("UPDATE webhook_deliveries SET since = since - interval '23:59:58'")
    bench.send()
    row = bench.only()
    assert (row["state"], row["dueAt"]) == ("waiting", row["since"] + timedelta(days=1))
    bench.scene.run("UPDATE webhook_deliveries SET since = since - interval '3 seconds'")
    bench.hasten()
    bench.send()
    dead = bench.only()
    assert (dead["state"], dead["attempts"], dead["error"]) == ("dead", 2, "it answered 500")
    assert dead["doneAt"] is not None
    bench.hasten()
    assert bench.send() == 0
    receiver.answers = [200]
    with Session(bench.scene.engine) as session, session.begin():
        resend(session, bench.person.id, webhook_id, dead["id"])
    assert bench.send() == 1
    assert bench.only()["state"] == "delivered"
    assert len({item.headers["webhook-id"] for item in receiver.requests}) == 1


def test_410_disables_the_webhook_and_buries_what_waits(bench: Bench, receiver: Receiver) -> None:
    bench.webhook(receiver.url)
    receiver.answers = [410]
    for _ in range(5):
        bench.tell()
    assert bench.send() == 2, "two places per webhook"
    [webhook] = bench.scene.rows("SELECT * FROM webhooks")
    assert webhook["disabledAt"] is not None
    assert webhook["disabledReason"] == "it answered 410 Gone"
    rows = bench.scene.rows("SELECT state, attempts FROM webhook_deliveries ORDER BY attempts")
    assert [(row["state"], row["attempts"]) for row in rows] == [("dead", 0)] * 3 + [
        ("dead", 1)
    ] * 2
    bench.tell()
    assert len(bench.scene.rows("SELECT 1 FROM webhook_deliveries")) == 5
    assert bench.send() == 0


@pytest.mark.parametrize("case", ["down", "redirect", "slow", "private"])
def test_what_is_no_answer_is_told_in_plain_words(
    bench: Bench, receiver: Receiver, case: str
) -> None:
    """Neither followed nor waited for beyond its time; the URL's path and query stand nowhere."""
    url, seconds, told = receiver.url, 10.0, ""
    if case == "down":
        url, told = f"http://127.0.0.1:{free_port()}/hook?key=sesame", "could not be reached"
    elif case == "redirect":
        receiver.answers, receiver.headers = [302], {"Location": receiver.url}
        told = "answers with a redirect, which is not followed"
    elif case == "slow":
        receiver.hold, seconds, told = threading.Event(), 0.3, "did not answer within 0.3 s"
    else:
        bench.scene.run("UPDATE settings SET value = '\"live\"' WHERE key = 'world'")
        told = "is not https"
    bench.webhook(url)
    bench.tell()
    assert bench.send(seconds=seconds) == 1
    [tried] = bench.tries()
    assert (tried["statusCode"], tried["error"]) == (None, f"http://127.0.0.1 {told}")
    assert bench.only()["state"] == "waiting"
    assert len(receiver.requests) == {"redirect": 1, "slow": 1}.get(case, 0)


def test_of_a_huge_answer_only_the_beginning_is_kept_without_its_secrets(
    bench: Bench, receiver: Receiver
) -> None:
    bench.webhook(receiver.url)
    receiver.answers = [200]
    receiver.body = b"thanks \x1b[31m Bearer abcdefghijklmnop " + b"x" * 5_000_000
    bench.tell()
    bench.send()
    [tried] = bench.tries()
    assert tried["answer"].startswith("thanks")
    assert "abcdefghijklmnop" not in tried["answer"]
    assert tried["answer"].isprintable()
    assert len(tried["answer"]) <= 500
    assert bench.only()["state"] == "delivered"


def test_a_target_that_hangs_delays_no_other_and_holds_two_places_only(
    bench: Bench, receiver: Receiver
) -> None:
    """While it hangs, the rest of its own messages wait, and everybody else's go out."""
    bench.webhook(receiver.url)
    receiver.hold = threading.Event()
    for _ in range(6):
        bench.tell()

    async def run(other: Receiver) -> None:
        engine = make_async_engine(bench.url, pool_size=3)
        sender = DeliverySender(engine, Settings(), VAULT.open, places=4)
        ending = asyncio.Event()
        task = asyncio.create_task(sender.run(ending))
        await asyncio.to_thread(receiver.wait_for, 2)
        await asyncio.to_thread(bench.webhook, other.url)
        for _ in range(5):
            await asyncio.to_thread(bench.tell)
        await asyncio.to_thread(other.wait_for, 5)
        assert len(receiver.requests) == 2
        assert receiver.hold is not None
        receiver.hold.set()
        await asyncio.to_thread(receiver.wait_for, 11)
        ending.set()
        await task
        await engine.dispose()

    with receiving() as other:
        asyncio.run(run(other))


def test_failing_targets_leave_the_healthy_ones_places(bench: Bench, receiver: Receiver) -> None:
    """Dead targets in any number fill the places of the failing alone, one each."""
    dead = f"http://127.0.0.1:{free_port()}/"
    for _ in range(5):
        bench.webhook(dead)
    bench.webhook(receiver.url)
    bench.scene.run('UPDATE webhooks SET "failingSince" = "createdAt" WHERE url = :url', url=dead)
    bench.tell()
    bench.tell()
    assert bench.send(places=2) == 2 + 2
    assert len(receiver.requests) == 2


def test_many_processes_send_each_message_once(bench: Bench, receiver: Receiver) -> None:
    for _ in range(4):
        bench.webhook(receiver.url)
    for _ in range(10):
        bench.tell()

    async def drain() -> None:
        engines = [make_async_engine(bench.url, pool_size=2) for _ in range(4)]
        senders = [DeliverySender(engine, Settings(), VAULT.open) for engine in engines]

        async def until_nothing_is_left(sender: DeliverySender) -> None:
            while bench.scene.rows("SELECT 1 FROM webhook_deliveries WHERE state = 'waiting'"):
                await sender.work()
                await sender.idle()

        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(until_nothing_is_left(sender) for sender in senders))
        for engine in engines:
            await engine.dispose()

    asyncio.run(drain())
    ids = [item.headers["webhook-id"] for item in receiver.requests]
    assert len(ids) == len(set(ids)) == 40


def test_a_process_that_dies_leaves_its_claim_until_the_lease_ends(
    bench: Bench, receiver: Receiver
) -> None:
    """Nobody else sends meanwhile; then the same message goes out, and the dead one can write nothing."""
    bench.webhook(receiver.url)
    receiver.answers = [500]
    bench.tell()
    with bench.scene.engine.begin() as connection:
        values = {"failing": False, "each": 2, "limit": 10}
        [claim] = connection.execute(text(queries.CLAIM), values).mappings().all()
    assert bench.send() == 0
    bench.scene.run(
        'UPDATE webhook_deliveries SET "leasedUntil" = "leasedUntil" - interval \'61 seconds\''
    )
    assert bench.send() == 1
    assert receiver.requests[0].headers["webhook-id"] == claim["id"]
    bench.scene.run(
        queries.DELIVERED, id=claim["id"], attempt=1, status=200, milliseconds=1, answer=None,
        error=None,
    )  # fmt: skip
    assert (bench.only()["state"], bench.only()["attempts"]) == ("waiting", 2)
    assert [item["attempt"] for item in bench.tries()] == [2]


def test_a_process_that_stops_hands_back_what_it_has_not_finished(
    bench: Bench, receiver: Receiver
) -> None:
    """The next process sends it at once, under the same id."""
    bench.webhook(receiver.url)
    receiver.hold = threading.Event()
    bench.tell()

    async def stop_in_the_middle() -> None:
        engine = make_async_engine(bench.url, pool_size=3)
        ending = asyncio.Event()
        task = asyncio.create_task(DeliverySender(engine, Settings(), VAULT.open).run(ending))
        await asyncio.to_thread(receiver.wait_for, 1)
        ending.set()
        async with asyncio.timeout(5):
            await task
        await engine.dispose()

    asyncio.run(stop_in_the_middle())
    receiver.hold.set()
    assert bench.send() == 1
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert bench.only()["state"] == "delivered"


def test_a_secret_that_no_key_opens_is_tried_again(bench: Bench, receiver: Receiver) -> None:
    bench.webhook(receiver.url)
    bench.scene.run(
        "UPDATE webhooks SET secret = :sealed", sealed=Vault([bytes(31) + b"1"]).seal("x")
    )
    bench.tell()
    bench.send()
    assert receiver.requests == []
    assert bench.only()["error"] == "its secret cannot be opened"
    assert bench.only()["state"] == "waiting"


def test_what_ended_30_days_ago_is_forgotten_and_what_waits_is_not(
    bench: Bench, receiver: Receiver
) -> None:
    """Deliveries with their attempts after 30 days, events after one."""
    bench.webhook(receiver.url)
    bench.tell()
    bench.send()
    bench.tell()
    bench.scene.run(
        'UPDATE webhook_deliveries SET "doneAt" = "doneAt" - interval \'30 days 1 minute\', '
        '"createdAt" = "createdAt" - interval \'40 days\''
    )
    bench.scene.run("UPDATE events SET at = at - interval '25 hours' WHERE seq = 1")
    with Session(bench.scene.engine) as session, session.begin():
        assert forget_events(session) == 2
    assert bench.only()["state"] == "waiting"
    assert bench.tries() == []
    assert len(bench.scene.rows("SELECT 1 FROM events")) == 1


def test_the_body_is_compact_json_in_utf8(bench: Bench, receiver: Receiver) -> None:
    bench.webhook(receiver.url)
    with Session(bench.scene.engine) as session, session.begin():
        tell(session, bench.person.id, CONTENT_READY, contentId="ü")
    bench.send()
    body = receiver.requests[0].body
    assert "ü".encode() in body
    assert json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":")).encode() == body
