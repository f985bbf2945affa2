"""Reading answers: retry times, JSON that may be anything, names of hosts."""

from datetime import UTC, datetime, timedelta

import pytest

from minitik_dagster.platforms.answers import Answer, dig, redacted, whole_number

_NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", timedelta(seconds=30)),
        ("Tue, 24 Nov 2026 12:01:00 GMT", timedelta(seconds=60)),
        ("Tue, 24 Nov 2026 11:00:00 GMT", timedelta(0)),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str, expected: timedelta | None) -> None:
    """Seconds or an HTTP date; what cannot be read is no wait at all."""
    assert Answer(429, {"retry-after": text}, b"").retry_after(_NOW) == expected


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"null", b"\xff\xfe"])
def test_a_body_that_is_no_json_object_reads_as_empty(body: bytes) -> None:
    """A proxy's error page must not crash a classification."""
    assert Answer(502, {}, body).json == {}


def test_digging_stops_at_what_is_missing() -> None:
    """Answers are taken as they come, with unknown and absent fields."""
    value = {"a": [{"b": 1}]}
    assert dig(value, "a", 0, "b") == 1
    assert dig(value, "a", 1, "b") is None
    assert dig(value, "a", "b") is None
    assert dig(None, "a") is None


@pytest.mark.parametrize(
    ("value", "expected"), [(7, 7), ("18446744073709551615", 2**64 - 1), ("x", None), (True, None)]
)
def test_counters_come_as_numbers_or_as_text(value: object, expected: int | None) -> None:
    """Google writes unsigned longs as text."""
    assert whole_number(value) == expected


def test_urls_are_named_by_scheme_and_host_only() -> None:
    """Paths, queries and user parts may be credentials."""
    assert redacted("https://user:pw@host.example:8443/p?token=x#f") == "https://host.example"
    assert redacted("http://[broken") == "an unreadable URL"


def test_an_answers_repr_shows_neither_headers_nor_body() -> None:
    """Location headers hold session URIs."""
    text = repr(Answer(200, {"location": "https://h/secret"}, b"secret"))
    assert "secret" not in text
