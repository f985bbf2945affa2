"""Notices leave the outbox: once each, again after a failure, to the right person, without leftovers."""

import io
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_engine
from minitik_dagster.errors import DependencyDownError
from minitik_dagster.notifications.events import PUBLICATION_FAILED, PUBLICATION_PUBLISHED
from minitik_dagster.notifications.mail import (
    AppriseMailer,
    Mailer,
    NullMailer,
    PrintingMailer,
    choose_mailer,
)
from minitik_dagster.notifications.notices import (
    ACCOUNT_DISCONNECTED,
    ACCOUNT_EXPIRES_SOON,
    ACCOUNT_UNHEALTHY,
    ANALYTICS_UPDATE,
    PUBLICATION_AT_RISK,
    PUBLICATION_REMOVED,
    QUEUE_NOTICE,
    SCHEDULE_REMINDER,
    SIGN_IN_LINK,
    notice,
)
from minitik_dagster.notifications.sender import NoticeSender
from minitik_dagster.notifications.texts import TEXTS
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene
from tests.notifications.recorder import Recorder

VAULT = Vault([bytes(32)])
SETTINGS = Settings(nextauth_url="https://app.example.test")


@pytest.fixture
def scene(database_url: str) -> Iterator[Scene]:
    """People and rows."""
    engine = make_engine(database_url, pool_size=10)
    yield Scene(engine)
    engine.dispose()


def _sender(engine: Engine, mailer: Mailer, settings: Settings = SETTINGS) -> NoticeSender:
    return NoticeSender(engine, settings, VAULT.open, lambda *_: mailer)


def _queue(scene: Scene, kind: str, **facts: object) -> None:
    with scene.engine.begin() as connection:
        connection.execute(text(QUEUE_NOTICE), notice(kind, **facts))


def _removal(scene: Scene, person: Person) -> dict[str, object]:
    account = scene.account(person)
    content = scene.content(person)
    scene.run(
        'INSERT INTO publications (id, "contentId", "accountId", platform, status, "updatedAt") '
        "VALUES ('p1', :content, :account, 'INSTAGRAM', 'PUBLISHED', now())",
        content=content,
        account=account,
    )
    return {"publicationId": "p1", "contentId": content, "accountId": account, "platform": "tiktok"}


def test_every_kind_of_notice_has_a_text_and_reaches_the_accounts_owner(scene: Scene) -> None:
    """By the person's id where the notice has it, else by the account or publication it names."""
    person, _ = scene.person(email="owner@example.test"), scene.person()
    account = scene.account(person)
    facts = {"userId": person.id, "accountId": account, "platform": "youtube"}
    _queue(scene, ACCOUNT_DISCONNECTED, **facts, status="REVOKED", reason="gone", heldPosts=3)
    _queue(scene, ACCOUNT_EXPIRES_SOON, **facts, expiresAt="2026-12-01T00:00:00.000Z", days=7)
    _queue(scene, PUBLICATION_REMOVED, **_removal(scene, person))
    recorder = Recorder()
    assert _sender(scene.engine, recorder).work() == 3
    assert {to for to, _, _ in recorder.sent} == {"owner@example.test"}
    told = "\n".join(subject + body for _, subject, body in recorder.sent)
    for fact in ("YouTube", "TikTok", "REVOKED", "gone", "3", "within 7 days", "2026-12-01", "p1"):
        assert fact in told
    assert "{" not in told
    assert set(TEXTS) == {
        ACCOUNT_DISCONNECTED, ACCOUNT_EXPIRES_SOON, ACCOUNT_UNHEALTHY, PUBLICATION_AT_RISK,
        PUBLICATION_REMOVED, PUBLICATION_PUBLISHED, PUBLICATION_FAILED, SCHEDULE_REMINDER,
        ANALYTICS_UPDATE, SIGN_IN_LINK,
    }  # fmt: skip
    assert _sender(scene.engine, recorder).work() == 0


def test_a_link_is_opened_for_the_letter_and_leaves_no_trace_in_its_row(scene: Scene) -> None:
    scene.person(email="a@example.test")
    _queue(scene, SIGN_IN_LINK, email="a@example.test", token=VAULT.seal("t0ken"))
    recorder = Recorder()
    _sender(scene.engine, recorder).work()
    [(to, _, body)] = recorder.sent
    assert to == "a@example.test"
    assert "https://app.example.test/auth/verify?token=t0ken\n" in body
    [row] = scene.rows("SELECT payload FROM outbox")
    assert row["payload"] == {}


def test_a_failure_is_tried_again_with_backoff_and_loses_nothing(scene: Scene) -> None:
    scene.person(email="a@example.test")
    _queue(scene, SIGN_IN_LINK, email="a@example.test", token=VAULT.seal("t0ken"))
    recorder = Recorder(failures=1)
    sender = _sender(scene.engine, recorder)
    assert sender.work() == 1
    assert sender.work() == 0, "it is not due yet"
    [row] = scene.rows('SELECT * FROM outbox WHERE "doneAt" IS NULL')
    assert (row["attempts"], row["error"]) == (1, "the mail service did not take the message")
    scene.run('UPDATE outbox SET "dueAt" = "createdAt"')
    assert sender.work() == 1
    assert len(recorder.sent) == 1


def test_a_process_that_dies_between_claim_and_sending_leaves_it_to_the_next(scene: Scene) -> None:
    """The claim is the row's own dueAt: a minute later it is due again."""

    class DeadError(BaseException):
        """The process ends here."""

    @dataclass
    class Dying:
        note: str | None = None

        def send(self, to: str, subject: str, body: str) -> None:
            raise DeadError

    scene.person(email="a@example.test")
    _queue(scene, SIGN_IN_LINK, email="a@example.test", token=VAULT.seal("t0ken"))
    with pytest.raises(DeadError):
        _sender(scene.engine, Dying()).work()
    recorder = Recorder()
    assert _sender(scene.engine, recorder).work() == 0
    scene.run('UPDATE outbox SET "dueAt" = "dueAt" - interval \'61 seconds\'')
    assert _sender(scene.engine, recorder).work() == 1
    assert len(recorder.sent) == 1


def test_many_senders_send_each_notice_once(scene: Scene) -> None:
    person = scene.person()
    for number in range(40):
        _queue(scene, ACCOUNT_EXPIRES_SOON, userId=person.id, platform="tiktok", days=number)
    recorder = Recorder()

    def drain(_: int) -> None:
        sender = _sender(scene.engine, recorder)
        while sender.work():
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(drain, range(8)))
    subjects = [subject for _, subject, _ in recorder.sent]
    assert len(subjects) == len(set(subjects)) == 40


def test_an_old_link_and_an_old_notice_are_given_up(scene: Scene) -> None:
    person = scene.person(email="a@example.test")
    _queue(scene, SIGN_IN_LINK, email="a@example.test", token=VAULT.seal("t0ken"))
    _queue(scene, ACCOUNT_EXPIRES_SOON, userId=person.id, platform="tiktok", days=1)
    scene.run('UPDATE outbox SET "createdAt" = "createdAt" - interval \'16 minutes\'')
    recorder = Recorder()
    _sender(scene.engine, recorder).work()
    assert len(recorder.sent) == 1
    [row] = scene.rows("SELECT * FROM outbox WHERE kind = 'sign_in.link'")
    assert row["error"].startswith("given up")
    assert row["payload"] == {}


def test_an_erased_person_gets_no_mail(scene: Scene) -> None:
    person = scene.person(email="a@example.test")
    scene.run('UPDATE users SET "deletedAt" = "createdAt"')
    _queue(scene, SIGN_IN_LINK, email="a@example.test", token=VAULT.seal("t0ken"))
    _queue(scene, ACCOUNT_EXPIRES_SOON, userId=person.id, platform="tiktok", days=1)
    recorder = Recorder()
    assert _sender(scene.engine, recorder).work() == 2
    assert recorder.sent == []


def test_which_mailer_is_used() -> None:
    """A sandbox writes to nobody; without Resend it is printed on loopback, and not sent elsewhere."""
    resend = Settings(
        resend_api_key=SecretStr("re_123"), email_from="a@b.test", nextauth_url="https://a.test"
    )
    assert isinstance(choose_mailer(resend, "sandbox"), PrintingMailer)
    live = choose_mailer(resend, "live")
    assert isinstance(live, AppriseMailer)
    assert live.service == "resend://re_123:a@b.test"
    assert "re_123" not in repr(live)
    assert isinstance(choose_mailer(Settings(), "live"), PrintingMailer)
    assert isinstance(choose_mailer(SETTINGS, "live"), NullMailer)


def test_resend_takes_the_address_as_apprise_reads_it() -> None:
    """The URL names key, sender and addressee."""
    import apprise

    found: Any = apprise.Apprise.instantiate("resend://re_123:a@b.test/to@example.test")
    assert (found.apikey, found.from_addr[1], found.targets) == (
        "re_123", "a@b.test", ["to@example.test"],
    )  # fmt: skip


def test_printed_mail_is_marked_on_every_line() -> None:
    stream = io.StringIO()
    PrintingMailer(stream).send("a@example.test", "Subject", "one\n\ntwo\n")
    assert stream.getvalue() == "mail: to a@example.test: Subject\nmail: one\nmail: two\n"


@pytest.mark.parametrize("status", [200, 500])
def test_apprise_speaks_to_a_real_server_and_its_refusal_is_one(status: int) -> None:
    """By the service `json`, whose host can be chosen: the same seam as Resend's."""
    got: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the library's name
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        mailer = AppriseMailer(f"json://127.0.0.1:{server.server_port}")
        if status == 200:
            mailer.send("a@example.test", "Subject", "Body")
        else:
            with pytest.raises(DependencyDownError):
                mailer.send("a@example.test", "Subject", "Body")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
    assert (got[0]["title"], got[0]["message"]) == ("Subject", "Body")
