"""What is repeated of others' words holds no credential, and reads as before otherwise."""

import secrets

import pytest

from minitik_dagster.errors import TransientError
from minitik_dagster.redaction import REDACTED, redact_credentials, redact_opaque


@pytest.mark.parametrize(
    "token",
    [
        secrets.token_urlsafe(32) + "aA1",
        secrets.token_hex(32),
        secrets.token_hex(16),
        f"mtk_{secrets.token_urlsafe(32)}",
        f"act.{secrets.token_urlsafe(40)}",
        f"ya29.{secrets.token_urlsafe(40)}",
        f"1//{secrets.token_urlsafe(40)}",
    ],
    ids=["link", "key", "short key", "API key", "TikTok", "Google", "Google refresh"],
)
@pytest.mark.parametrize("text", ["/api/accounts/{}/refresh", "got the string '{}'", "{}", '"{}"'])
def test_an_opaque_string_is_not_repeated(token: str, text: str) -> None:
    """Known forms and unknown ones, in paths, quotes and alone; a key keeps its shown beginning."""
    told = redact_opaque(text.format(token))
    assert token[12:] not in told
    assert REDACTED in told


@pytest.mark.parametrize(
    "text",
    [
        "no account 'cmwwuat9c3oo0md09owhknc8u'",
        "/api/content/upload/cmwwuat9c3oo0md09owhknc8u/chunk/1",
        "MINITIK_CONCURRENT_UPLOADS_PER_ACCOUNT must be at least 1",
        "spam_risk_too_many_pending_share_of_2026",
        "request 20220829194722CBE87ED59D524E727021",
        "3f2b8c1e-5d7a-4e7b-9a57-0b8f1c2d3e4f",
        "https://www.googleapis.com/auth/yt-analytics.readonly",
        "a-very-long-file-name-of-the-holiday-in-2026.mp4",
    ],
)
def test_what_people_read_stays_as_it_is(text: str) -> None:
    """Our ids, names of settings, platforms' codes and ids for their support."""
    assert redact_opaque(text) == text
    assert redact_credentials(text) == text


def test_a_platform_that_answers_with_our_token_does_not_get_it_into_our_tables() -> None:
    """Its code and words are stored, logged and shown: they are redacted where the error is made."""
    token = f"act.{secrets.token_urlsafe(40)}"
    error = TransientError(f"refused {token}", code=token, request_id=f"Bearer {token}")
    assert token not in f"{error} {error.reason} {error.code} {error.request_id} {error!r}"
    assert error.code == REDACTED
