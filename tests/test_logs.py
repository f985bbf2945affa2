"""Logs tell what happened, one line per event on standard error, and no secret."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from minitik_dagster import logs
from minitik_dagster.logs import configure_logging, redact, redact_text
from minitik_dagster.redaction import REDACTED
from minitik_dagster.settings import Settings

# A constant: it stands in the tests' names, which every worker must find alike.
SEALED = "kniNsX2Z7MixdRPp:fCulsEeGUvU6T4+nDMVVIg==:/+B3kRKZ+sZSI5pGHjmUb5U9RV70UGO4"
SECRETS = {
    "Authorization: Bearer act.abcdef123456": "act.abcdef123456",
    "Authorization: OAuth IGQWRabcdef": "IGQWRabcdef",
    "GET https://graph.instagram.com/me?access_token=IGQabcdef&fields=id": "IGQabcdef",
    "body: grant_type=refresh_token&refresh_token=rft.123456": "rft.123456",
    '{"access_token": "ya29.abcdef", "expires_in": 3599}': "ya29.abcdef",
    "{'client_secret': 'GOCSPX-abcdef'}": "GOCSPX-abcdef",
    "PUT https://open-upload.tiktokapis.com/video/?upload_id=67890&upload_token=Xza": "67890",
    "https://www.googleapis.com/upload/youtube/v3/videos?upload_id=AEnB2UqABC": "AEnB2UqABC",
    "https://b.s3.amazonaws.com/k.mp4?X-Amz-Signature=0a1b2c3d": "0a1b2c3d",
    "signed with X-Amz-Signature=0a1b2c3d": "0a1b2c3d",
    "postgresql://minitik:hunter2@db.example:5432/minitik": "hunter2",
    "redis://:hunter2@cache:6379/0": "hunter2",
    f"stored {SEALED} of a1": SEALED,
    "key mtk_abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG was used": "ijklmnopqrstuvwxyz",
    "whsec_C2FVsBQIhrscChlQIMV": "C2FVsBQIhrscChlQIMV",
    "TikTok said no to act.example12345Example12345Example": "Example12345Example",
}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Logging is the process's: leave it as it was found."""
    handlers, make = list(logging.getLogger().handlers), logging.getLogRecordFactory()
    known = set(logs._known)
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.setLogRecordFactory(make)
    logs._known.clear()
    logs._known.update(known)


@pytest.mark.parametrize(("text", "secret"), SECRETS.items(), ids=lambda value: value[:24])
def test_what_looks_like_a_secret_is_redacted(text: str, secret: str) -> None:
    """The last net: in a text, in JSON within JSON, and as a value at any depth."""
    assert secret not in redact_text(text)
    assert secret not in redact_text(json.dumps(text))
    event = redact(None, "info", {"event": "e", "detail": {"lines": [text, text.encode()]}})
    assert secret not in json.dumps(event)
    assert secret not in str(redact(None, "info", {"event": "e", "why": RuntimeError(text)}))


@pytest.mark.parametrize(
    "name",
    ["token", "access_token", "refreshToken", "authorization", "password", "client_secret",
     "upload_url", "session_uri", "api_key", "sealed", "set-cookie", "ENCRYPTION_KEY"],
)  # fmt: skip
def test_a_value_under_a_secrets_name_is_redacted_whatever_it_looks_like(name: str) -> None:
    assert redact(None, "info", {"event": "e", name: "plain"})[name] == REDACTED


@pytest.mark.parametrize(
    "event",
    [
        {"event": "publication.accepted", "publication": "cmwu3sm0cjtv21naqiqii68r6", "late_ms": 1.9},
        {"event": "publication.retry", "code": "quotaExceeded", "seconds": 30.5, "platform": "youtube"},
        {"event": "lease.lost", "lease_token": 7, "reason": "at heartbeat"},
        {"event": "publication.live", "post": "7512345678901234567", "due": "2026-11-24T02:56:47.000Z"},
        {"event": "x", "url": "https://www.youtube.com/shorts/LvKC6-sMn5I", "none": None, "ok": True},
        {"event": "OAuth callback refused", "reason": "the Bearer of it has no scope"},
    ],
    ids=lambda event: str(event["event"]),
)  # fmt: skip
def test_what_is_no_secret_stays(event: dict[str, Any]) -> None:
    """A net that catches everything would leave nothing to read."""
    kept = redact(None, "info", dict(event))
    assert kept == event or kept["event"].startswith("OAuth")
    assert kept["event"] == event["event"]


@given(st.text())
def test_any_text_can_be_redacted_and_twice_changes_nothing_more(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


@pytest.mark.parametrize("text", SECRETS)
def test_redacting_twice_is_redacting_once(text: str) -> None:
    """A record that goes through both nets reads as through one."""
    assert redact_text(redact_text(text)) == redact_text(text)


def test_an_event_is_one_json_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(readable=False)
    structlog.get_logger("x").info("token.refreshed", account="a1", token=SecretStr("hunter2"))
    said = capsys.readouterr()
    assert said.out == ""
    line = json.loads(said.err)
    assert (line["event"], line["account"], line["level"]) == ("token.refreshed", "a1", "info")
    assert line["timestamp"].endswith("Z")
    assert "hunter2" not in said.err


def test_for_people_an_event_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a platform or a creator wrote: no line break, no control character."""
    configure_logging(readable=True)
    structlog.get_logger("x").warning(
        "publication.failed", reason="bad\ncaption \x1b[2J", late_ms=2
    )
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "\x1b" not in told
    assert 'warning publication.failed reason="bad\\ncaption \\u001b[2J" late_ms=2' in told


@pytest.mark.parametrize("readable", [True, False])
def test_a_traceback_shows_no_local_variable_and_no_secret_of_its_message(
    capsys: pytest.CaptureFixture[str], readable: bool
) -> None:
    """What was opened from the vault stands in local variables while a call fails."""
    configure_logging(readable=readable)
    opened = str(SecretStr("hunter2").get_secret_value())
    try:
        raise RuntimeError(f"no answer from https://host/path?access_token={opened}")
    except RuntimeError:
        structlog.get_logger("x").exception("publication.defect")
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "publication.defect" in told
    assert f"no answer from https://host/path?{REDACTED}" in told
    assert opened not in told


def test_a_librarys_warning_goes_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, redacted, its traceback too; what is below WARNING is not written."""
    logging.getLogger().handlers.clear()
    configure_logging(readable=False)
    logging.getLogger("some.library").warning("retrying %s", "https://h/p?upload_id=123456")
    logging.getLogger("httpx2").info("GET https://h/p?access_token=1")
    try:
        raise ValueError("refused: Bearer hunter2hunter2")
    except ValueError:
        logging.getLogger("some.library").exception("gave up")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first["event"] == f"retrying https://h/p?{REDACTED}"
    assert first["logger"] == "some.library"
    assert second["event"] == "gave up"
    assert "hunter2" not in json.dumps(second)
    assert "refused: Bearer" in json.dumps(second)


def test_a_hosts_own_handlers_are_left_alone_and_write_no_secret() -> None:
    """Dagster and uvicorn have theirs: no line is written twice, and theirs are redacted."""

    class Host(logging.Handler):
        lines: list[str] = []  # noqa: RUF012 - one instance, in this test

        def emit(self, record: logging.LogRecord) -> None:
            self.lines.append(self.format(record))

    host = Host()
    logging.getLogger().handlers[:] = [host]
    configure_logging()
    configure_logging()
    assert logging.getLogger().handlers == [host]
    try:
        raise ValueError("refresh_token=hunter2hunter2")
    except ValueError:
        logging.getLogger("lib").exception("%s %d", "Bearer hunter2hunter2", 7)
    wrong_format = "%s of %s"
    logging.getLogger("lib").warning(wrong_format, "Bearer hunter2hunter2")
    assert host.lines[0].startswith(f"Bearer {REDACTED} 7\nTraceback")
    assert "hunter2" not in "".join(host.lines)


def test_the_http_libraries_are_quiet() -> None:
    """Their INFO lines hold whole URLs (contracts.md, Tokens and secrets)."""
    configure_logging()
    for name in ("httpx", "httpx2", "httpcore2", "boto3", "botocore", "urllib3"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)


def test_the_values_of_our_own_secrets_are_redacted_wherever_they_stand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client secret has no shape of its own; the settings know it."""
    monkeypatch.setenv("TIKTOK_CLIENT_SECRET", "kx81hunter2")
    monkeypatch.setenv("ENCRYPTION_KEY_PREVIOUS", f"{'ab' * 32},{'cd' * 32}")
    configure_logging(Settings())
    structlog.get_logger("x").info("e", detail=["said kx81hunter2", "cd" * 32])
    told = capsys.readouterr().err
    assert "kx81hunter2" not in told
    assert "cdcdcd" not in told


def test_the_settings_choose_the_format(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MINITIK_LOG_FORMAT: json, or human."""
    for name, begins in (("json", "{"), ("human", "20")):
        monkeypatch.setenv("MINITIK_LOG_FORMAT", name)
        configure_logging(Settings())
        structlog.get_logger("x").info("e")
        assert capsys.readouterr().err.startswith(begins)


def test_a_process_that_only_configures_logging_prints_nothing_else() -> None:
    """Standard output is for answers."""
    code = (
        "import structlog, logging\n"
        "from minitik_dagster.logs import configure_logging\n"
        "configure_logging()\n"
        "structlog.get_logger().info('one')\n"
        "logging.getLogger('lib').warning('two')\n"
        "logging.getLogger('dagster.core').warning('its own handlers show this')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["one", "two"]
