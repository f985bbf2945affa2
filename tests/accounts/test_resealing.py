"""Changing the encryption key: nothing is invalidated, whatever happens beside it or to it."""

import json
import re
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.resealing import SEALED_COLUMNS, reseal
from minitik_dagster.accounts.sign_in import consume_link, request_link
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.notifications.notices import (
    PUBLICATION_REMOVED,
    QUEUE_NOTICE,
    SIGN_IN_LINK,
    notice,
)
from tests.accounts.scene import KEY, NEW_KEY, AccountScene, wait_for

OLD = Vault([bytes.fromhex(KEY)])
NEW = Vault([bytes.fromhex(NEW_KEY)])
BOTH = Vault([bytes.fromhex(NEW_KEY), bytes.fromhex(KEY)])
ROTATED = {"ENCRYPTION_KEY": NEW_KEY, "ENCRYPTION_KEY_PREVIOUS": KEY}
PACKAGE = Path(__file__).parent.parent.parent / "minitik_dagster"
VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "data" / "token_vectors.json").read_text()
)


def fill(scene: AccountScene, count: int) -> None:
    """Accounts, handles, half-finished connections and queued links, sealed with the old key."""
    with scene.engine.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        values = [
            {
                "id": f"r{number:05}",
                "user": scene.user_id,
                "access": OLD.seal(f"access {number}"),
                "refresh": OLD.seal(f"refresh {number}") if number % 3 else None,
                "handle": OLD.seal(f"handle {number}"),
                "verifier": OLD.seal(f"verifier {number}"),
                "secret": OLD.seal(f"secret {number}"),
                "link": json.dumps(
                    {"email": f"{number}@example.org", "token": OLD.seal(f"link {number}")}
                ),
            }
            for number in range(count)
        ]
        for statement in (
            (
                'INSERT INTO accounts (id, "userId", platform, "platformAccountId", "accessToken", '
                '"refreshToken", status, "connectedAt", "tokenVersion") VALUES '
                "(:id, :user, 'TIKTOK', :id, :access, :refresh, 'CONNECTED', '2026-01-01', 7)"
            ),
            (
                'INSERT INTO handles (id, "publicationId", "accountId", platform, state, revision, '
                'sealed, progress, "createdAt", "updatedAt") VALUES '
                "(:id, :id, :id, 'TIKTOK', 'used', 0, :handle, '{}', '2026-01-01', '2026-01-01')"
            ),
            (
                'INSERT INTO oauth_states (id, "stateHash", "userId", provider, "codeVerifier", '
                '"redirectUri", "createdAt", "expiresAt") VALUES '
                "(:id, :id, :user, 'youtube', :verifier, 'http://x', '2026-01-01', '2026-01-01')"
            ),
            (
                'INSERT INTO webhooks (id, "userId", url, events, secret, "createdAt", "updatedAt") '
                "VALUES (:id, :user, 'https://x', '{}', :secret, '2026-01-01', '2026-01-01')"
            ),
            (
                'INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt") VALUES '
                "(:id, 'sign_in.link', CAST(:link AS jsonb), '2026-01-01', 0, '2026-01-01')"
            ),
        ):
            connection.execute(text(statement), values)


def sealed(scene: AccountScene) -> dict[str, str]:
    """Every sealed value by table, column and row."""
    found: dict[str, str] = {}
    with scene.engine.connect() as connection:
        for column in SEALED_COLUMNS:
            rows = connection.execute(
                text(
                    f"SELECT {column.key}, {column.value} FROM {column.table} "  # noqa: S608 - constants
                    f"WHERE {column.rows}"
                )
            )
            found |= {f"{column}/{row[0]}": row[1] for row in rows if row[1]}
    return found


def opened(scene: AccountScene, vault: Vault) -> dict[str, str]:
    return {where: vault.open(value) for where, value in sealed(scene).items()}


def test_every_sealed_value_opens_with_the_new_key_alone_and_is_what_it_was(
    scene: AccountScene,
) -> None:
    """Tokens, handles, verifiers, links; a second run finds nothing to do. Versions stay: no new token."""
    fill(scene, 25)
    before = opened(scene, OLD)
    reports = list(reseal(scene.engine, BOTH, batch=10))
    assert opened(scene, NEW) == before
    assert [report.column for report in reports] == [str(column) for column in SEALED_COLUMNS]
    assert [report.resealed for report in reports] == [25, 16, 25, 25, 25, 25]
    again = list(reseal(scene.engine, BOTH, batch=10))
    assert [report.resealed for report in again] == [0, 0, 0, 0, 0, 0]
    assert [report.already for report in again] == [25, 16, 25, 25, 25, 25]
    assert scene.row("r00001").token_version == 7


def test_what_the_old_system_sealed_is_re_sealed_too(scene: AccountScene) -> None:
    """The adopted format's own vectors, emptied accounts left alone."""
    vector = VECTORS["valid"][0]
    scene.account(Platform.TIKTOK, id="old", access_token=vector["stored"], refresh_token=None)
    scene.account(Platform.TIKTOK, id="left", access_token="", refresh_token=None)
    list(reseal(scene.engine, Vault([bytes.fromhex(NEW_KEY), bytes.fromhex(vector["key"])])))
    assert NEW.open(scene.row("old").access_token) == vector["plaintext"]
    assert scene.row("left").access_token == ""


def test_a_queued_sign_in_link_is_sent_after_the_old_key_is_gone(scene: AccountScene) -> None:
    """Its token is re-sealed inside the message; what was sent, and other messages, stay as they are."""
    with Session(scene.engine) as session, session.begin():
        request_link(session, OLD, "someone@example.org")
        session.execute(text(QUEUE_NOTICE), notice(PUBLICATION_REMOVED, token="not sealed"))
        session.execute(text(QUEUE_NOTICE), notice(SIGN_IN_LINK))
    reports = {report.column: report for report in reseal(scene.engine, BOTH)}
    assert vars(reports["outbox.payload.token"]) == {
        "column": "outbox.payload.token",
        "resealed": 1,
        "already": 0,
        "failed": 0,
        "unreadable": [],
    }
    told = scene.notices()
    [link] = [one for one in told if one.get("email") == "someone@example.org"]
    [removed] = [one for one in told if one["kind"] == PUBLICATION_REMOVED]
    [sent] = [one for one in told if one not in (link, removed)]
    assert (removed["token"], "token" in sent) == ("not sealed", False)
    with Session(scene.engine) as session, session.begin():
        signed_in = consume_link(session, NEW.open(link["token"]), sign_up_open=True)
    assert signed_in.email == "someone@example.org"


@pytest.mark.slow
def test_a_value_that_changes_meanwhile_is_not_overwritten(scene: AccountScene) -> None:
    """A refresh that holds the row wins: its new token is what stands afterwards, sealed anew."""
    fill(scene, 3)
    held = scene.engine.connect()
    held.execute(text("SELECT 1 FROM accounts WHERE id = 'r00001' FOR UPDATE"))
    process = scene.start("tokens", "rotate-key", "--json", **ROTATED)
    wait_for(scene.waiting_for_a_lock, "the rotation at the held row")
    # Sealed by a process that still runs with the old key only.
    held.execute(
        text("UPDATE accounts SET \"accessToken\" = :new WHERE id = 'r00001'"),
        {"new": OLD.seal("fresh")},
    )
    held.commit()
    held.close()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)[0]["resealed"] == 3
    assert NEW.open(scene.row("r00001").access_token) == "fresh"
    assert len(opened(scene, NEW)) == 17


def test_a_value_that_no_key_opens_is_named_left_as_it_is_and_fails_the_command(
    scene: AccountScene,
) -> None:
    """By row id only; everything else is re-sealed."""
    fill(scene, 3)
    broken = Vault([bytes(32)]).seal("lost")
    scene.run("UPDATE accounts SET \"accessToken\" = :broken WHERE id = 'r00001'", broken=broken)
    process = scene.start("tokens", "rotate-key", "--json", **ROTATED)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    first = json.loads(out)[0]
    assert (first["resealed"], first["failed"], first["unreadable"]) == (2, 1, ["r00001"])
    assert broken.encode() not in out
    assert scene.row("r00001").access_token == broken


@pytest.mark.slow
@pytest.mark.parametrize("stopped_at", ["r00000", "r00150", "r00250"])
def test_a_rotation_killed_in_the_middle_is_gone_on_with(
    scene: AccountScene, stopped_at: str
) -> None:
    """SIGKILL in a batch: what was committed is new, the rest is old, all opens; then all is new."""
    fill(scene, 300)
    before = opened(scene, OLD)
    hold = scene.engine.connect()
    hold.execute(text("SELECT pg_advisory_xact_lock(4711)"))
    scene.run(
        "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NEW; END'"
    )
    scene.run(
        "CREATE TRIGGER stop BEFORE UPDATE ON accounts FOR EACH ROW "
        f"WHEN (OLD.id = '{stopped_at}') EXECUTE FUNCTION stop()"
    )
    process = scene.start("tokens", "rotate-key", **ROTATED)
    wait_for(scene.waiting_for_a_lock, "the rotation in its batch")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    hold.rollback()
    hold.close()
    scene.run("DROP TRIGGER stop ON accounts")
    assert opened(scene, BOTH) == before
    again = scene.start("tokens", "rotate-key", "--json", **ROTATED)
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    accounts = json.loads(out)[0]
    assert accounts["resealed"] + accounts["already"] == 300
    assert accounts["already"] == (200 if stopped_at > "r00199" else 0)
    assert opened(scene, NEW) == before


@pytest.mark.slow
def test_refreshes_and_a_rotation_at_once_lose_nothing(scene: AccountScene) -> None:
    """Under load: TikTok's rotating refresh tokens are renewed while they are re-sealed."""
    ends = {"token_expires_at": datetime.now(UTC) + timedelta(minutes=5)}
    accounts = [scene.account(Platform.TIKTOK, **ends) for _ in range(20)]
    rotation = scene.start("tokens", "rotate-key", **ROTATED)
    refreshing = scene.start("accounts", "refresh", "--due", "--json", **ROTATED)
    out, err = refreshing.communicate(timeout=60)
    assert refreshing.returncode == 0, err
    assert json.loads(out)["refreshed"] == 20
    _, err = rotation.communicate(timeout=60)
    assert rotation.returncode == 0, err
    for account in accounts:
        row = scene.row(account)
        assert row.status is AccountStatus.CONNECTED
        assert row.token_version == 2
        assert all(scene.tokens(account, NEW))
    # Nothing was invalidated: every stored refresh token is the platform's present one.
    scene.run('UPDATE accounts SET "tokenExpiresAt" = "refreshedAt", "refreshedAt" = NULL')
    last = scene.start("accounts", "refresh", "--due", "--json", ENCRYPTION_KEY=NEW_KEY)
    out, err = last.communicate(timeout=60)
    assert json.loads(out)["refreshed"] == 20, err


def test_every_column_that_is_sealed_is_in_the_list() -> None:
    """Who seals something new must say where it lies, or a key change loses it."""
    sealers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"(?<!def )\bseal\(", path.read_text()) and "local" not in path.parts
    }
    # Each module that seals, with the columns it writes.
    assert sealers == {
        "accounts/connect.py",  # accounts.accessToken, accounts.refreshToken
        "accounts/oauth_flow.py",  # oauth_states.codeVerifier
        "accounts/parting.py",  # accounts.accessToken, accounts.refreshToken
        "accounts/resealing.py",  # all of them
        "accounts/sign_in.py",  # outbox.payload.token of sign_in.link
        "accounts/tokens.py",  # accounts.accessToken, accounts.refreshToken
        "notifications/webhooks.py",  # webhooks.secret
        "publishing/ledger.py",  # handles.sealed
    }
