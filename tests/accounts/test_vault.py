"""The vault reads and writes the adopted format, and shows nothing of what it holds."""

import json
import traceback
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitik_dagster.accounts.vault import Vault, VaultError
from minitik_dagster.errors import ConfigurationError

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "data" / "token_vectors.json").read_text()
)
KEY, OTHER = bytes.fromhex("ab" * 32), bytes.fromhex("cd" * 32)


@pytest.mark.parametrize("vector", VECTORS["valid"], ids=lambda v: v["plaintext"][:20] or "empty")
def test_every_valid_vector_opens(vector: dict[str, str]) -> None:
    """What the old system sealed, this one reads."""
    assert Vault([bytes.fromhex(vector["key"])]).open(vector["stored"]) == vector["plaintext"]


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda v: v["why"])
def test_every_invalid_vector_is_refused_without_being_shown(vector: dict[str, str]) -> None:
    """One class of error; neither the stored text nor a cause is in it."""
    with pytest.raises(VaultError) as caught:
        Vault([bytes.fromhex(vector["key"])]).open(vector["stored"])
    told = "".join(traceback.format_exception(caught.value))
    for part in vector["stored"].split(":"):
        assert len(part) < 8 or part not in told.replace(" ", "")


@given(st.text())
def test_what_is_sealed_opens_and_never_looks_the_same_twice(text: str) -> None:
    """A fresh IV each time."""
    vault = Vault([KEY])
    first, second = vault.seal(text), vault.seal(text)
    assert first != second
    assert vault.open(first) == vault.open(second) == text


def test_previous_keys_still_open_and_the_present_one_seals() -> None:
    """Rotation without loss: keys are tried in order."""
    old = Vault([OTHER]).seal("token")
    both = Vault([KEY, OTHER])
    assert both.open(old) == "token"
    assert Vault([KEY]).open(both.seal("new")) == "new"
    with pytest.raises(VaultError):
        Vault([KEY]).open(old)


@pytest.mark.parametrize("keys", [[], [b"short"], [KEY, b""]])
def test_a_bad_key_is_named_with_the_fix(keys: list[bytes]) -> None:
    """The runbook's words."""
    with pytest.raises(ConfigurationError, match="openssl rand -hex 32"):
        Vault(keys)


def test_a_vault_shows_no_key() -> None:
    """Repr is for logs."""
    assert KEY.hex() not in repr(Vault([KEY]))
    assert repr(Vault([KEY])) == "Vault(1 keys)"
