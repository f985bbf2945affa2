"""TikTok's signature by its page's words, and its events' bodies."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from minitik_dagster.errors import InvalidInputError, SignatureRefusedError
from minitik_dagster.platforms.tiktok_events import (
    REMOVAL_REASONS,
    read_event,
    require_recent,
    signed_at,
)
from tests.tiktok_events import SECRET, event_body, signature

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
BODY = event_body("authorization.removed", "o", reason=1)
GOOD = signature(BODY)
SIGNED, HEX = GOOD.split(",s=")


def test_a_signature_of_our_secret_tells_when_it_was_signed() -> None:
    """Whatever the order, the spaces, the letters' case and further parts."""
    wanted = datetime.fromtimestamp(int(SIGNED[2:]), UTC)
    for header in (GOOD, f"s={HEX}, {SIGNED}", f"{SIGNED},s={HEX.upper()}", f"{GOOD},v=2"):
        assert signed_at(SecretStr(SECRET), header, BODY) == wanted
    assert signed_at(SecretStr(SECRET), f"{SIGNED},s={'0' * 64},s={HEX}", BODY) == wanted


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"s={HEX}",
        SIGNED,
        f"{SIGNED},s={HEX[:-1]}",
        f"{SIGNED},s={'0' * 64}",
        f"{SIGNED}0,s={HEX}",
        f"{SIGNED},t=1,s={HEX}",
        f"t=-1,s={HEX}",
        f"t=1e9,s={HEX}",
        f"t={'9' * 40},s={HEX}",
        f"{SIGNED},s={'é' * 64}",
        ",".join([f"s={'0' * 64}"] * 50 + [GOOD]),
        signature(BODY, secret="another"),
        signature(BODY + b" "),
    ],
)
def test_another_signature_is_refused(header: str | None) -> None:
    """Forged, of another body or secret, malformed, or none."""
    with pytest.raises(SignatureRefusedError):
        signed_at(SecretStr(SECRET), header, BODY)


@pytest.mark.parametrize(
    ("age", "good"),
    [
        (timedelta(hours=72, minutes=30), True),
        (timedelta(hours=73, seconds=1), False),
        (timedelta(minutes=-4, seconds=-59), True),
        (timedelta(minutes=-5, seconds=-1), False),
    ],
)
def test_a_signature_lasts_for_tiktoks_retries_and_may_be_a_little_ahead(
    age: timedelta, good: bool
) -> None:
    if good:
        require_recent(NOW - age, NOW)
    else:
        with pytest.raises(SignatureRefusedError):
            require_recent(NOW - age, NOW)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"\xff", "body"),
        (b"[]", "body"),
        (b'{"a": NaN}', "body"),
        (b"[" * 5000, "body"),
        (BODY.replace(b'"o"', b'"o\\u0000"'), "body"),
        (BODY.replace(b'"o"', b'"\\ud800"'), "body"),
        (BODY.replace(b'"o"', b'"o", "n": 1e999'), "body"),
        (BODY.replace(b'"o"', b'"o", "n": ' + b"1" * 5000), "body"),
        (BODY.replace(b'"o"', b"5"), "user_openid"),
        (BODY.replace(b'"o"', b'""'), "user_openid"),
        (BODY.replace(b"client_key", b"client"), "client_key"),
        (BODY.replace(b'"authorization.removed"', b"null"), "event"),
        (event_body("e", "o", created=-1), "create_time"),
        (event_body("e", "o", created=10**12), "create_time"),
        (BODY.replace(b'"create_time": ', b'"create_time": true, "n": '), "create_time"),
    ],
)
def test_a_body_that_is_no_event_is_refused_by_its_field(body: bytes, field: str) -> None:
    """Signed or not: nothing of it could be stored."""
    with pytest.raises(InvalidInputError) as refused:
        read_event(body)
    assert [problem.field for problem in refused.value.problems] == [field]


@pytest.mark.parametrize("content", [b'"{"', b"5", b'"[]"', b'""', b'"' + b"[" * 5000 + b'"'])
def test_an_event_whose_content_cannot_be_read_is_an_event_all_the_same(content: bytes) -> None:
    """A refusal would bring it again for 72 hours."""
    body = BODY.replace(b'"{\\"reason\\": 1}"', content)
    assert body != BODY
    assert dict(read_event(body).content) == {}
    assert read_event(body).publish_id is None


def test_every_reason_of_the_page_has_its_words() -> None:
    told = {code: read_event(event_body("e", "o", reason=code)).removal_reason for code in range(7)}
    assert {code: told[code] for code in REMOVAL_REASONS} == dict(REMOVAL_REASONS)
    assert sorted(REMOVAL_REASONS) == [1, 2, 3, 4, 5]
    assert told[0] == told[6] != ""
