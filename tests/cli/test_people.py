"""Users, keys and accounts from the command line."""

from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import owner_of
from minitik_dagster.notifications.web_push import public_key_of
from minitik_dagster.scheduling.adopt import adopt
from minitik_dagster.settings import Settings
from tests.cli.running import Command
from tests.scheduling.legacy import OldSystem


def test_a_user_gets_a_key_that_works_until_it_is_revoked(
    minitik: Command, on_database: Engine
) -> None:
    """Created, listed without its text, revoked by the prefix that the list shows."""
    user_id = minitik.good("users", "create", "Ada@Example.org", "--tier", "pro").out.strip()
    key = minitik.good(
        "keys", "create", "ada@example.org", "--name", "ci", "--days", "3"
    ).out.strip()
    with Session(on_database) as session:
        owner = owner_of(session, key)
    assert owner is not None
    assert owner.user_id == user_id
    (listed,) = minitik.good("keys", "list", "--json").data
    assert (listed["name"], listed["email"]) == ("ci", "ada@example.org")
    assert listed["expiresAt"].endswith("Z")
    assert key not in str(listed)
    assert minitik.good("keys", "revoke", listed["prefix"]).out == "revoked\n"
    assert minitik.good("keys", "revoke", listed["id"]).out == "was revoked before\n"
    with Session(on_database) as session:
        assert owner_of(session, key) is None


def test_a_vapid_pair_is_what_the_settings_take(minitik: Command) -> None:
    """Two lines as the environment holds them; a pair, and another one each time."""
    lines = minitik.good("keys", "vapid").out.splitlines()
    made = dict(line.split("=", 1) for line in lines)
    settings = Settings(
        vapid_public_key=made["VAPID_PUBLIC_KEY"],
        vapid_private_key=SecretStr(made["VAPID_PRIVATE_KEY"]),
    )
    assert settings.vapid_public_key == public_key_of(made["VAPID_PRIVATE_KEY"])
    assert minitik.good("keys", "vapid").out.splitlines() != lines


def test_a_user_is_found_by_id_too_and_a_stranger_is_not(
    minitik: Command, on_database: Engine
) -> None:
    user_id = minitik.good("users", "create", "a@example.org").out.strip()
    minitik.good("keys", "create", user_id, "--scope", "content:read")
    assert "no user" in minitik.refused("keys", "create", "nobody@example.org")
    assert "unknown: root" in minitik.refused("keys", "create", user_id, "--scope", "root", code=2)
    assert len(minitik.good("keys", "list", "--user", user_id, "--json").data) == 1


def test_a_second_user_with_the_same_address_is_refused(
    minitik: Command, on_database: Engine
) -> None:
    minitik.good("users", "create", "a@example.org")
    assert "already" in minitik.refused("users", "create", "A@EXAMPLE.ORG")


def test_accounts_are_listed_with_their_state_and_without_tokens(
    minitik: Command, on_database: Engine
) -> None:
    """A name that would steer the terminal is shown without what steers."""
    old = OldSystem(on_database)
    account = old.account(
        "TIKTOK", status="EXPIRED", accessToken="a:b:sealed", platformUsername="na\x1b[2Jme"
    )
    (listed,) = minitik.good("accounts", "list", "--json").data
    assert (listed["id"], listed["status"], listed["platform"]) == (account, "EXPIRED", "tiktok")
    shown = minitik.good("accounts", "list").out
    assert "sealed" not in shown
    assert "\x1b" not in shown
    with on_database.begin() as connection:
        connection.execute(text("DELETE FROM accounts"))
    assert minitik.good("accounts", "list").out == "no accounts\n"
    assert minitik.good("accounts", "list", "--json").data == []


def test_an_account_is_disconnected_and_its_posts_are_held_or_cancelled(
    minitik: Command, on_database: Engine, redis_url: str
) -> None:
    """For people lines, for programs an object; a second time says so, and a stranger is refused."""
    old = OldSystem(on_database)
    accounts = [old.account("TIKTOK"), old.account("YOUTUBE")]
    old.job(old.content(), accounts)
    adopt(on_database, redis_url, tiktok_privacy="SELF_ONLY")
    said = minitik.good("accounts", "disconnect", accounts[0]).out
    assert said.startswith(f"{accounts[0]}: disconnected; 1 posts held, 0 cancelled\n")
    assert "\nnext: " in said
    done = minitik.good("accounts", "disconnect", accounts[1], "--cancel-posts", "--json").data
    assert (len(done["cancelled"]), done["held"], done["already"]) == (1, [], False)
    assert minitik.good("accounts", "disconnect", accounts[1], "--json").data["already"]
    listed = {item["id"]: item for item in minitik.good("accounts", "list", "--json").data}
    assert {listed[account]["status"] for account in accounts} == {"REVOKED"}
    assert {row["stage"] for row in old.rows().values()} == {"held", "cancelled"}
    with on_database.connect() as connection:
        queued = connection.execute(text("SELECT payload ->> 'accountId' FROM outbox"))
        assert set(queued.scalars()) >= set(accounts)
    assert "no account" in minitik.refused("accounts", "disconnect", "nobody")


def test_a_person_is_erased_after_a_plan_and_by_yes_only(
    minitik: Command, on_database: Engine
) -> None:
    """The plan changes nothing; afterwards the address is unknown and the id a tombstone."""
    user_id = minitik.good("users", "create", "ada@example.org").out.strip()
    minitik.good("keys", "create", user_id, "--scope", "publish")
    planned = minitik.good("users", "delete", "ada@example.org")
    assert "add --yes" in planned.out
    assert "1 keys" in planned.out
    assert len(minitik.good("keys", "list", "--json").data) == 1
    done = minitik.good("users", "delete", "ada@example.org", "--yes", "--json").data
    assert (done["done"], done["keys"], done["mediaLeft"]) == (True, 1, [])
    assert minitik.good("keys", "list", "--json").data == []
    assert "no user" in minitik.refused("users", "delete", "ada@example.org")
    assert minitik.good("users", "delete", user_id, "--json").data["erasedBefore"] is True
    assert "no user" in minitik.refused("keys", "create", user_id)
