"""TikTok's events: signed as its page says, sent of what happens, repeated until they are taken."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from .apps import TikTokApp
from .conftest import SandboxProcess, wait_until

SECRET = "a secret of this app"


class Receiver:
    """A callback URL that checks signatures by the rule and remembers what came."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.refusals = 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/events"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take(self.headers["TikTok-Signature"], body)
                status = 500 if receiver.refusals > 0 else 200
                receiver.refusals -= 1
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                """Say nothing."""

        return Handler

    def take(self, header: str, body: bytes) -> None:
        """Keep an event with what its signature is worth, and how old that is."""
        parts = dict(part.split("=") for part in header.split(","))
        digest = hmac.new(SECRET.encode(), parts["t"].encode() + b"." + body, hashlib.sha256)
        event = json.loads(body)
        self.events.append(
            {
                **event,
                "content": json.loads(event["content"]),
                "genuine": digest.hexdigest() == parts["s"],
                "age": time.time() - int(parts["t"]),
            }
        )

    def names(self, account: str) -> list[str]:
        """What was told of an account, in order."""
        return [event["event"] for event in self.events if event["user_openid"] == account]


@pytest.fixture
def receiver(sandbox: SandboxProcess) -> Iterator[Receiver]:
    """A callback URL, configured."""
    receiver = Receiver()
    configure(sandbox, receiver)
    yield receiver
    sandbox.control("DELETE", "/webhook")
    receiver.server.shutdown()
    receiver.server.server_close()


def configure(sandbox: SandboxProcess, receiver: Receiver, **how: Any) -> None:
    body = {"url": receiver.url, "clientKey": "ours", "clientSecret": SECRET, **how}
    shown = sandbox.control("PUT", "/webhook", body)
    assert shown["webhook"]["url"] == receiver.url
    assert SECRET not in json.dumps(shown)


def test_a_withdrawn_grant_is_told_with_its_reason_and_a_genuine_signature(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    """By the person, and by the app itself through the API."""
    person, app = sandbox.account("tiktok"), sandbox.account("tiktok")
    order = {"platform": "tiktok", "account": person.id, "reason": 4}
    sandbox.control("POST", "/revoke", order)
    form = {"client_key": "k", "client_secret": "s", "token": app.access}
    url = sandbox.env["TIKTOK_API_BASE_URL"] + "/v2/oauth/revoke/"
    assert sandbox.http.post(url, data=form).status_code == 200
    wait_until(lambda: len(receiver.events) == 2, "two events")
    told = {event["user_openid"]: event for event in receiver.events}
    assert told[person.id]["content"] == {"reason": 4}
    assert told[app.id]["content"] == {"reason": 5}
    for event in receiver.events:
        assert (event["event"], event["client_key"]) == ("authorization.removed", "ours")
        assert event["genuine"]
        assert abs(event["create_time"] - time.time()) < 60
    answer = TikTokApp(sandbox, person).post("post/publish/creator_info/query/")
    assert answer.status_code == 401


def _published(sandbox: SandboxProcess, **info: Any) -> tuple[str, str]:
    app = TikTokApp(sandbox, sandbox.account("tiktok"))
    publish_id, url = app.opened(**info)
    assert app.put(url).status_code == 201
    return app.account.id, publish_id


def test_a_post_is_told_when_it_is_complete_public_and_gone(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    """At the sandbox's own times; a private one is never told to be public."""
    sandbox.limits("tiktok", processingMs=60_000, moderationMs=60_000)
    account, publish_id = _published(sandbox)
    private, _ = _published(sandbox, privacy_level="SELF_ONLY")
    assert receiver.events == []
    sandbox.advance(61)
    wait_until(lambda: len(receiver.events) == 2, "both are complete")
    sandbox.advance(60)
    wait_until(lambda: len(receiver.events) == 3, "one is public")
    [post] = sandbox.control("GET", "/posts")["posts"][-1:]
    answer = sandbox.http.delete(f"{sandbox.base}/_sandbox/posts?platform=tiktok&id={post['id']}")
    assert answer.status_code == 204
    wait_until(lambda: len(receiver.events) == 4, "it is gone")
    assert receiver.names(private) == ["post.publish.complete"]
    assert receiver.names(account) == [
        "post.publish.complete",
        "post.publish.publicly_available",
        "post.publish.no_longer_publicaly_available",
    ]
    assert {e["content"]["publish_id"] for e in receiver.events if e["user_openid"] == account} == {
        publish_id
    }
    assert receiver.events[-1]["content"]["post_id"] == post["id"]


def test_a_failed_post_is_told_with_its_reason(sandbox: SandboxProcess, receiver: Receiver) -> None:
    sandbox.fault("tiktok", "last_chunk", "fail-processing", code="file_format_check_failed")
    account, publish_id = _published(sandbox)
    wait_until(lambda: receiver.events != [], "the failure")
    assert receiver.names(account) == ["post.publish.failed"]
    content = receiver.events[0]["content"]
    assert (content["publish_id"], content["reason"]) == (publish_id, "file_format_check_failed")


@pytest.mark.slow
def test_events_come_again_until_they_are_taken_and_in_copies_and_out_of_order_as_asked(
    sandbox: SandboxProcess, receiver: Receiver
) -> None:
    """Each repeated delivery has the same body and signature."""
    configure(sandbox, receiver, copies=2, reversed=True)
    receiver.refusals = 1
    sandbox.limits("tiktok", processingMs=0, moderationMs=3_000)
    account, _ = _published(sandbox)
    wait_until(lambda: len(receiver.events) >= 5, "a refused one, and two of each")
    public, complete = "post.publish.publicly_available", "post.publish.complete"
    assert receiver.names(account) == [public] * 3 + [complete] * 2
    assert all(event["genuine"] for event in receiver.events)
    assert len({event["create_time"] for event in receiver.events[:3]}) == 1


def test_an_event_is_sent_as_it_is_ordered(sandbox: SandboxProcess, receiver: Receiver) -> None:
    """Forged, late, in copies, of anybody; and nothing by itself where that is switched off."""
    configure(sandbox, receiver, automatic=False)
    account = sandbox.account("tiktok").id
    sandbox.control("POST", "/revoke", {"platform": "tiktok", "account": account})
    order = {"event": "made.up", "account": "nobody", "content": {"a": 1}, "copies": 2}
    order |= {"forged": True, "signedSecondsAgo": 7200, "createdSecondsAgo": 9000}
    sent = sandbox.control("POST", "/events", order)["deliveries"]
    assert [delivery["status"] for delivery in sent] == [200, 200]
    assert receiver.names(account) == []
    for event in receiver.events:
        assert (event["event"], event["content"], event["genuine"]) == ("made.up", {"a": 1}, False)
        assert event["age"] >= 7200
        assert event["create_time"] <= time.time() - 9000
    assert sandbox.control("GET", "/events")["deliveries"] == sent


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "/webhook", {}, "url"),
        ("PUT", "/webhook", {"url": "https://elsewhere.example/"}, "url"),
        ("PUT", "/webhook", {"url": "http://127.0.0.1/", "copies": 0}, "copies"),
        ("PUT", "/webhook", {"url": "http://127.0.0.1/", "colour": "red"}, "colour"),
        ("POST", "/events", {"account": "a"}, "event"),
        ("POST", "/events", {"event": "e", "account": "a", "copies": "2"}, "copies"),
        ("POST", "/events", {"event": "e", "account": "a", "content": []}, "content"),
        ("POST", "/revoke", {"platform": "tiktok", "account": "nobody"}, "account"),
    ],
)
def test_a_wrong_order_is_refused_by_name(
    sandbox: SandboxProcess, receiver: Receiver, method: str, path: str, body: Any, field: str
) -> None:
    """And nothing is sent."""
    answer = sandbox.http.request(method, f"{sandbox.base}/_sandbox{path}", json=body)
    assert answer.status_code == 400
    assert field in answer.json()["error"]
    assert receiver.events == []
