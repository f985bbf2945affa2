"""Our codes of refusals, what the platforms' mean, and their page."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import NotConnectedError, TransientError
from minitik_dagster.platforms.oauth import REQUESTED_SCOPES
from minitik_dagster.platforms.oauth_refusals import (
    NAMES,
    OAUTH_CODES,
    REFUSALS,
    read_refusal,
    refusal,
)

PAGE = (Path(__file__).parents[2] / "docs" / "accounts.md").read_text()


def _rows(heading: str) -> list[str]:
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def test_every_code_and_every_scope_has_its_line_in_the_docs() -> None:
    """docs/accounts.md is what the problem's type points to."""
    assert _rows("Refusals") == list(REFUSALS)
    assert _rows("Scopes") == [s for scopes in REQUESTED_SCOPES.values() for s in scopes]
    assert set(OAUTH_CODES.values()) <= REFUSALS.keys()


@pytest.mark.parametrize("platform", list(Platform))
@pytest.mark.parametrize("code", list(REFUSALS))
def test_every_refusal_names_its_platform_and_a_fix(platform: Platform, code: str) -> None:
    error = refusal(code, platform)
    assert "{" not in error.reason + error.fix
    assert error.fix
    assert NAMES[platform]


@pytest.mark.parametrize(
    ("code", "words", "ours"),
    [
        ("invalid_request", "Redirect_uri is not matched with the code's.", "wrong_redirect"),
        ("", "This authorization code has been used or is invalid", "code_unusable"),
        ("", "Error validating client secret.", "app_refused"),
        ("", "Redirect URI is not matched with the one of the code", "wrong_redirect"),
        ("a_new_code", "", "platform_refused"),
        ("admin_policy_enforced", "", "admin_forbids"),
    ],
)
def test_a_platforms_words_are_read_where_its_code_says_too_little(
    code: str, words: str, ours: str
) -> None:
    error = read_refusal(Platform.INSTAGRAM, code, words)
    assert isinstance(error, NotConnectedError)
    assert error.code == ours


@pytest.mark.parametrize(
    ("code", "status"), [("server_error", 400), ("", 503), ("temporarily_unavailable", 200)]
)
def test_what_may_pass_is_no_refusal(code: str, status: int) -> None:
    assert isinstance(read_refusal(Platform.TIKTOK, code, status=status), TransientError)


@given(code=st.text(max_size=300), words=st.text(max_size=400))
def test_whatever_comes_back_in_a_redirect_is_one_of_our_codes(code: str, words: str) -> None:
    """The redirect's texts are anybody's: no exception, no key-like text, one short line."""
    secret = "act." + "x" * 40
    error = read_refusal(Platform.YOUTUBE, code, f"{words} {secret}")
    assert secret not in str(error)
    if isinstance(error, NotConnectedError):
        assert error.code in REFUSALS
        assert len(error.reason) < 400
        assert "\n" not in error.reason
