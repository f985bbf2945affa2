"""Disconnecting: posts wait, what is prepared is undone, access is withdrawn, tokens are emptied."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from minitik_dagster.accounts.parting import RECONNECTED, read_parting
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.db.models import Publication
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import AuthExpiredError, NotFoundError, RevokedError, StateConflictError
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.publishing.database_clock import DatabaseClock
from minitik_dagster.publishing.disconnect import Disconnected, Wish, disconnect
from minitik_dagster.publishing.erasure import erase
from minitik_dagster.publishing.holds import release_held
from minitik_dagster.publishing.leaving import Leaver
from minitik_dagster.publishing.store import Store
from tests.publishing.kill_harness import Ground
from tests.publishing.running import all_at, run_until

pytestmark = pytest.mark.slow

TIKTOK, INSTAGRAM, YOUTUBE = Platform.TIKTOK, Platform.INSTAGRAM, Platform.YOUTUBE


def rows(bench: Workbench, sql: str, **values: Any) -> list[dict[str, Any]]:
    with bench.engine.begin() as connection:
        found = connection.execute(text(sql), values)
        return [dict(row) for row in found.mappings()] if found.returns_rows else []


def leave(bench: Workbench, account_id: str, posts: Wish = "hold", **who: Any) -> Disconnected:
    """Disconnect in a transaction of its own."""
    with Session(bench.engine) as session, session.begin():
        return disconnect(session, account_id, posts=posts, actor="test", **who)


def account_of(bench: Workbench, account_id: str) -> dict[str, Any]:
    [row] = rows(
        bench,
        'SELECT status, "accessToken" AS access, "refreshToken" AS refresh, '
        '"disconnectedAt" AS left_at FROM accounts WHERE id = :id',
        id=account_id,
    )
    return row


def waiting_post(bench: Workbench, platform: Platform, minutes: int = 60) -> tuple[str, list[str]]:
    """An account with one post that is not begun yet."""
    account = bench.add_account(platform)
    at = bench.now() + timedelta(minutes=minutes)
    return account, bench.schedule(bench.add_video(), [(account, platform)], at)


def revocations(bench: Workbench) -> list[Any]:
    """The answers to every withdrawal the sandbox has seen."""
    return [call["status"] for call in bench.sandbox.calls() if call["operation"] == "revoke"]


def note(bench: Workbench) -> dict[str, Any]:
    """The one note in the outbox that ends the account."""
    [row] = rows(
        bench,
        'SELECT error, attempts, "doneAt" IS NOT NULL AS done FROM outbox '
        "WHERE kind = 'leave_account'",
    )
    return row


def left(bench: Workbench) -> Callable[[list[Publication]], bool]:
    return lambda _: bool(note(bench)["done"])


def hurry(bench: Workbench) -> None:
    """Let whatever stands in the outbox fall due now."""
    rows(bench, 'UPDATE outbox SET "dueAt" = "createdAt"')


def work_once(bench: Workbench) -> int:
    """One look of a dispatcher's leaver, without a dispatcher."""

    async def main() -> int:
        engine = make_async_engine(bench.settings.require_database_url(), pool_size=2)
        try:
            clock = DatabaseClock(engine)
            await clock.sample()
            async with PlatformClients(bench.settings) as clients:
                leaver = Leaver(
                    Store(engine, "test"),
                    engine,
                    clock,
                    Vault.from_settings(bench.settings),
                    clients.client,
                    Random(1),
                )
                return await leaver.work()
        finally:
            await engine.dispose()

    return asyncio.run(main())


def with_engine(bench: Workbench, act: Callable[[AsyncEngine], Any]) -> Any:
    async def main() -> Any:
        engine = make_async_engine(bench.settings.require_database_url(), pool_size=2)
        try:
            return await act(engine)
        finally:
            await engine.dispose()

    return asyncio.run(main())


def test_an_erased_persons_access_is_withdrawn_at_the_platform_and_then_emptied(
    workbench: Workbench,
) -> None:
    """As any disconnect; what the erasure overwrites is not needed for it."""
    account = workbench.add_account(Platform.TIKTOK)
    with Session(workbench.engine) as session, session.begin():
        erase(session, workbench.user_id, actor="test")
    assert account_of(workbench, account)["access"] != ""
    assert work_once(workbench) == 1
    assert revocations(workbench) == [200]
    row = account_of(workbench, account)
    assert (row["status"], row["access"], row["refresh"]) == ("REVOKED", "", None)


def test_posts_are_held_and_go_on_after_a_reconnect(workbench: Workbench) -> None:
    """Held with the reason, the row kept; connected again they are released."""
    account, ids = waiting_post(workbench, TIKTOK)
    done = leave(workbench, account)
    assert (done.held, done.cancelled, done.already) == (tuple(ids), (), False)
    [post] = workbench.rows(ids)
    assert (post.stage, post.status.value) == ("held", "QUEUED")
    assert post.hold_reason is not None
    assert "disconnected" in post.hold_reason
    stands = account_of(workbench, account)
    assert stands["status"] == "REVOKED"
    assert stands["left_at"] is not None

    rows(workbench, "UPDATE accounts SET status = 'CONNECTED', \"disconnectedAt\" = NULL")
    with Session(workbench.engine) as session, session.begin():
        assert release_held(session, account, actor="test").released == tuple(ids)
    assert [row.stage for row in workbench.rows(ids)] == ["scheduled"]


def test_posts_are_cancelled_when_asked(workbench: Workbench) -> None:
    """The job and the content are told as well."""
    account, ids = waiting_post(workbench, INSTAGRAM)
    assert leave(workbench, account, "cancel").cancelled == tuple(ids)
    assert [row.stage for row in workbench.rows(ids)] == ["cancelled"]
    assert rows(workbench, "SELECT status FROM scheduled_jobs") == [{"status": "CANCELLED"}]
    assert rows(workbench, "SELECT status FROM contents") == [{"status": "DRAFT"}]


def test_other_accounts_posts_of_the_same_job_go_on(workbench: Workbench) -> None:
    """Only what stands on this account is touched."""
    mine, other = workbench.add_account(TIKTOK), workbench.add_account(YOUTUBE)
    at = workbench.now() + timedelta(hours=1)
    ids = workbench.schedule(workbench.add_video(), [(mine, TIKTOK), (other, YOUTUBE)], at)
    leave(workbench, mine, "cancel")
    stages = {row.account_id: row.stage for row in workbench.rows(ids)}
    assert stages == {mine: "cancelled", other: "scheduled"}


def test_a_prepared_video_is_deleted_before_the_grant_is_withdrawn(workbench: Workbench) -> None:
    """In order: delete on the channel, revoke at Google, empty the tokens; each stands in the log."""
    account, ids = waiting_post(workbench, YOUTUBE, minutes=10)
    run_until(workbench, ids, all_at("prepared"))
    done = leave(workbench, account)
    assert [item.publication_id for item in done.undone] == ids
    run_until(workbench, ids, left(workbench))
    order = [
        (call["operation"], call["status"])
        for call in workbench.sandbox.calls()
        if call["operation"] in {"delete", "revoke"}
    ]
    assert order == [("delete", 204), ("revoke", 200)]
    stands = account_of(workbench, account)
    assert (stands["status"], stands["access"], stands["refresh"]) == ("REVOKED", "", None)
    actions = [row["action"] for row in rows(workbench, "SELECT action FROM audit_log ORDER BY at")]
    assert actions == ["account.disconnect", "account.disconnected"]
    assert [row.stage for row in workbench.rows(ids)] == ["held"]


def test_a_tiktok_token_that_has_run_out_is_renewed_to_be_withdrawn(workbench: Workbench) -> None:
    """TikTok takes a living access token only; the grant must not outlive the disconnect."""
    account = workbench.add_account(TIKTOK, expiresIn=1)
    _wait_until(lambda: _is_refused(workbench, account_of(workbench, account)["access"]))
    leave(workbench, account)
    assert work_once(workbench) == 1
    assert revocations(workbench) == [400, 200]
    assert note(workbench) == {"error": "withdrawn at the platform", "attempts": 1, "done": True}
    assert account_of(workbench, account)["access"] == ""


def test_a_platform_that_ended_the_access_before_is_done(workbench: Workbench) -> None:
    """The token is dead and so is its refresh token: nothing is left to withdraw."""
    account, _ = waiting_post(workbench, YOUTUBE)
    rows_before = account_of(workbench, account)
    _withdraw_at_google(workbench, rows_before["refresh"])
    leave(workbench, account)
    work_once(workbench)
    assert note(workbench)["error"] == "the platform had ended the access before"
    assert account_of(workbench, account)["access"] == ""


def test_instagrams_tokens_are_emptied_and_the_creator_is_told_what_to_do(
    workbench: Workbench,
) -> None:
    """No call exists; saying nothing would leave the creator believing it was withdrawn."""
    account, _ = waiting_post(workbench, INSTAGRAM)
    assert "removes the app" in leave(workbench, account).later
    work_once(workbench)
    assert revocations(workbench) == []
    assert "removes the app" in note(workbench)["error"]
    assert account_of(workbench, account)["access"] == ""


def test_a_withdrawal_that_fails_is_asked_again_and_given_up_after_a_day(
    workbench: Workbench,
) -> None:
    """The tokens stay while it may still succeed, and no longer than the bound."""
    account, _ = waiting_post(workbench, TIKTOK)
    workbench.sandbox.add_fault(
        platform="tiktok", operation="revoke", kind="status", status=503, count=9
    )
    leave(workbench, account)
    work_once(workbench)
    assert not note(workbench)["done"]
    assert account_of(workbench, account)["access"] != ""
    rows(workbench, 'UPDATE outbox SET "createdAt" = "createdAt" - interval \'25 hours\'')
    hurry(workbench)
    work_once(workbench)
    assert note(workbench)["done"]
    assert account_of(workbench, account)["access"] == ""
    [entry] = rows(workbench, "SELECT detail FROM audit_log WHERE action = 'account.disconnected'")
    assert "not withdrawn" in entry["detail"]["outcome"]
    assert revocations(workbench) == [503]


def test_a_reconnect_in_between_wins(workbench: Workbench) -> None:
    """The new tokens stay, and the grant they belong to is not withdrawn."""
    account, _ = waiting_post(workbench, TIKTOK)
    leave(workbench, account)
    fresh = Vault.from_settings(workbench.settings).seal("a new token")
    rows(
        workbench,
        "UPDATE accounts SET status = 'CONNECTED', \"disconnectedAt\" = NULL, "
        '"accessToken" = :fresh WHERE id = :id',
        fresh=fresh,
        id=account,
    )
    work_once(workbench)
    assert note(workbench) == {"error": RECONNECTED, "attempts": 1, "done": True}
    assert revocations(workbench) == []
    stands = account_of(workbench, account)
    assert (stands["status"], stands["access"]) == ("CONNECTED", fresh)


def test_an_old_note_never_ends_a_later_disconnect(workbench: Workbench) -> None:
    """Disconnected, reconnected and disconnected again: each note is bound to its own instant."""
    account, _ = waiting_post(workbench, TIKTOK)
    leave(workbench, account)
    rows(workbench, 'UPDATE accounts SET "disconnectedAt" = "disconnectedAt" + interval \'1 s\'')
    work_once(workbench)
    assert note(workbench)["error"] == RECONNECTED
    assert account_of(workbench, account)["access"] != ""


def test_a_dispatcher_killed_in_the_withdrawal_leaves_it_to_the_next(
    workbench: Workbench, ground: Ground
) -> None:
    """`kill -9` after the platform withdrew and before the tokens were emptied: carried on."""
    account, _ = waiting_post(workbench, YOUTUBE)
    workbench.sandbox.add_fault(
        platform="youtube", operation="revoke", kind="delay", delayMs=20_000, count=1
    )
    leave(workbench, account)
    with ground.dispatcher("first") as first:
        _wait_until(lambda: len(revocations(workbench)) == 1)
        first.kill()
    assert account_of(workbench, account)["access"] != ""
    workbench.sandbox.call("DELETE", "/_sandbox/faults")
    hurry(workbench)
    run_until(workbench, [], left(workbench))
    stands = account_of(workbench, account)
    assert (stands["access"], stands["refresh"]) == ("", None)
    assert note(workbench)["error"] == "the platform had ended the access before"


def test_twice_is_safe_and_the_second_may_cancel_what_the_first_held(workbench: Workbench) -> None:
    """One note, one withdrawal; held posts may still be cancelled."""
    account, ids = waiting_post(workbench, TIKTOK)
    leave(workbench, account)
    again = leave(workbench, account)
    assert (again.already, again.held) == (True, ())
    assert leave(workbench, account, "cancel").cancelled == tuple(ids)
    work_once(workbench)
    assert note(workbench)["done"]
    assert revocations(workbench) == [200]


def test_a_post_that_is_being_sent_keeps_its_account_connected(workbench: Workbench) -> None:
    """An open commit: refused with the truth, and nothing is changed (engine.md R6)."""
    account, ids = waiting_post(workbench, INSTAGRAM)
    _open_commit(workbench, ids[0])
    with pytest.raises(StateConflictError, match="being sent") as refused:
        leave(workbench, account, "cancel")
    assert refused.value.state == "committing"
    assert account_of(workbench, account)["status"] == "CONNECTED"
    assert rows(workbench, "SELECT id FROM outbox") == []
    assert rows(workbench, "SELECT id FROM audit_log") == []


def test_an_account_of_somebody_else_is_not_found(workbench: Workbench) -> None:
    """Not there and not yours look alike."""
    account, _ = waiting_post(workbench, TIKTOK)
    for named in (account, "no-such-account"):
        with pytest.raises(NotFoundError):
            leave(workbench, named, user_id="somebody-else")
    assert account_of(workbench, account)["status"] == "CONNECTED"


def test_nobody_else_may_use_the_tokens_of_a_withdrawn_account(workbench: Workbench) -> None:
    """REVOKED without a disconnect (the platform's doing) opens nothing."""
    account, _ = waiting_post(workbench, TIKTOK)
    vault = Vault.from_settings(workbench.settings)
    rows(workbench, "UPDATE accounts SET status = 'REVOKED'")
    with pytest.raises(RevokedError):
        with_engine(workbench, lambda engine: read_parting(engine, vault, account))


def _withdraw_at_google(bench: Workbench, sealed: str) -> None:
    """As the creator does on Google's page."""
    token = SecretStr(Vault.from_settings(bench.settings).open(sealed))

    async def main() -> None:
        async with PlatformClients(bench.settings) as clients:
            await clients.client(YOUTUBE).revoke(token, None)

    asyncio.run(main())


def _is_refused(bench: Workbench, sealed: str) -> bool:
    """Whether TikTok no longer takes the access token."""
    token = SecretStr(Vault.from_settings(bench.settings).open(sealed))

    async def main() -> bool:
        async with PlatformClients(bench.settings) as clients:
            try:
                await clients.client(TIKTOK).identify(token)
            except AuthExpiredError:
                return True
            return False

    return asyncio.run(main())


def _open_commit(bench: Workbench, publication_id: str) -> None:
    rows(
        bench,
        'INSERT INTO publication_steps (id, "publicationId", "accountId", platform, name, attempt, '
        '"canPublish", "leaseToken", revision, "startedAt", "policyVersion") '
        "SELECT 'step', id, \"accountId\", platform, 'commit', 1, true, 0, 0, \"createdAt\", 'x' "
        "FROM publications WHERE id = :id",
        id=publication_id,
    )


def _wait_until(seen: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, "not seen"
        time.sleep(0.02)
