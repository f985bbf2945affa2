"""`minitik accounts probe`: one account, or those that are due."""

import pytest
from sqlalchemy import Engine

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.local.servers.sandbox import SandboxServer
from tests.cli.running import Command
from tests.scheduling.legacy import OldSystem

KEY = "ab" * 32


def test_accounts_are_probed_by_hand_and_the_exit_tells_whether_all_is_well(
    minitik: Command, on_database: Engine, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 good, 1 found something wrong, 2 for a call that names neither an account nor --due."""
    for name, value in {"ENCRYPTION_KEY": KEY, **sandbox.environment}.items():
        monkeypatch.setenv(name, value)
    given = sandbox.create_account("tiktok")
    account = OldSystem(on_database).account(
        "TIKTOK",
        platformAccountId=given["platformAccountId"],
        accessToken=Vault([bytes.fromhex(KEY)]).seal(given["accessToken"]),
    )
    assert minitik("accounts", "probe").code == 2
    assert "no account" in minitik.refused("accounts", "probe", "nobody")
    assert minitik("accounts", "probe", "--due", "--json").data["ok"] == 1
    assert minitik("accounts", "probe", account).out == f"{account} (tiktok): ok\n"
    sandbox.add_fault(
        platform="tiktok", operation="profile", kind="revoke", account=given["platformAccountId"]
    )
    said = minitik("accounts", "probe", account, "--json")
    assert (said.code, said.data["outcome"]) == (1, "withdrawn")
