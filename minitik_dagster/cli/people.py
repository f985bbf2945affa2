"""`minitik users`, `keys` and `accounts`: people, programs' keys, and connected accounts."""

import getpass
import os
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from minitik_dagster.cli.output import AsJson, as_object, listing, say
from minitik_dagster.cli.session import transaction


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    users = typer.Typer(no_args_is_help=True, help="People.")
    users.command("create")(create_user)
    users.command("delete")(delete_user)
    app.add_typer(users, name="users")
    keys = typer.Typer(no_args_is_help=True, help="API keys of programs.")
    keys.command("create")(create_key)
    keys.command("vapid")(make_vapid_keys)
    keys.command("list")(list_keys)
    keys.command("revoke")(revoke_key)
    app.add_typer(keys, name="keys")
    accounts = typer.Typer(no_args_is_help=True, help="Connected platform accounts.")
    accounts.command("list")(list_accounts)
    accounts.command("release")(release_account)
    accounts.command("disconnect")(disconnect_account)
    app.add_typer(accounts, name="accounts")


def operator_name() -> str:
    """Who decides, for the audit log: the name the machine knows them by."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"


def create_user(
    email: str,
    name: Annotated[str | None, typer.Option(help="The person's name.")] = None,
    tier: Annotated[str, typer.Option(help="FREE, PRO or BUSINESS.")] = "FREE",
) -> None:
    """Create a person who can be given API keys."""
    from minitik_dagster.accounts.users import create_user as create
    from minitik_dagster.db.types import SubscriptionTier

    if tier.upper() not in SubscriptionTier.__members__:
        raise typer.BadParameter(f"tier {tier!r} is not one of FREE, PRO, BUSINESS")
    with transaction() as session:
        user_id = create(session, email, name=name, tier=SubscriptionTier(tier.upper())).id
    say(user_id)


def delete_user(
    user: Annotated[str, typer.Argument(help="The person's id or e-mail address.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person: posts that wait are cancelled, accounts cut off, data and media deleted."""
    from minitik_dagster.accounts import users
    from minitik_dagster.publishing.erasure import erase, plan_erasure

    with transaction() as session:
        user_id = users.find_user(session, user).id
        act = (
            erase(session, user_id, actor=operator_name())
            if yes
            else plan_erasure(session, user_id)
        )
    left = _delete_media(user_id) if yes and act.media else ()
    facts = {**vars(act), "done": yes, "media_left": list(left)}
    if as_json:
        as_object(facts)
    else:
        counts = ", ".join(
            f"{number} {name.replace('_', ' ')}"
            for name, number in vars(act).items()
            if isinstance(number, int) and not isinstance(number, bool)
        )
        say(f"{user_id}: {counts}" + ("" if yes else "; nothing is changed: add --yes"))
        for key in left:
            say(f"not deleted: {key}; delete the object, or run this again")
    if left:
        raise typer.Exit(1)


def _delete_media(user_id: str) -> tuple[str, ...]:
    from minitik_dagster.db.engine import make_engine
    from minitik_dagster.media.object_store import ObjectStore
    from minitik_dagster.publishing.erasure import delete_media
    from minitik_dagster.settings import load_settings

    settings = load_settings()

    def delete(key: str) -> None:
        ObjectStore.from_settings(settings).delete(key)

    engine = make_engine(settings.require_database_url(), pool_size=1, max_overflow=1)
    try:
        return delete_media(engine, user_id, delete)
    finally:
        engine.dispose()


def create_key(
    user: Annotated[str, typer.Argument(help="The owner's id or e-mail address.")],
    name: Annotated[str, typer.Option(help="What the key is for.")] = "default",
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="May be repeated; default: all but admin. content:read, content:write, "
            "schedule:write, publish, analytics:read, accounts:read, accounts:write, webhooks, "
            "notifications, admin."
        ),
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Expires after so many days.")
    ] = None,
) -> None:
    """Create an API key and print it: it is shown this once."""
    from minitik_dagster.accounts import api_keys, users

    expires = datetime.now(UTC) + timedelta(days=days) if days else None
    with transaction() as session:
        owner = users.find_user(session, user).id
        key = api_keys.create_key(session, owner, name, scopes=scope or (), expires_at=expires)
    say(key)


def make_vapid_keys() -> None:
    """Make a VAPID pair for web push; nothing is stored. Browsers subscribe to the public key."""
    from minitik_dagster.notifications.web_push import new_keys

    public, private = new_keys()
    say(f"VAPID_PUBLIC_KEY={public}")
    say(f"VAPID_PRIVATE_KEY={private}")


def list_keys(
    user: Annotated[str | None, typer.Option(help="Only this owner's (id or e-mail).")] = None,
    as_json: AsJson = False,
) -> None:
    """List keys; never their texts."""
    from minitik_dagster.accounts import api_keys, users

    with transaction() as session:
        owner = users.find_user(session, user).id if user else None
        found = api_keys.list_keys(session, owner)
    listing([vars(item) for item in found], as_json=as_json, empty="no keys")


def revoke_key(key: Annotated[str, typer.Argument(help="The key's id or shown prefix.")]) -> None:
    """Revoke a key: it stops working at once."""
    from minitik_dagster.accounts import api_keys

    with transaction() as session:
        changed = api_keys.revoke_key(session, key)
    say("revoked" if changed else "was revoked before")


def list_accounts(as_json: AsJson = False) -> None:
    """List every connected account and what is wrong with it."""
    from minitik_dagster.accounts import directory

    with transaction() as session:
        rows = [
            {
                "id": account.id,
                "platform": account.platform.value.lower(),
                "platformAccountId": account.platform_account_id,
                "username": account.username,
                "status": account.status.value,
                "tokenExpiresAt": account.token_expires_at,
                "userId": account.user_id,
            }
            for account in directory.list_accounts(session)
        ]
    listing(rows, as_json=as_json, empty="no accounts")


def release_account(account_id: str, as_json: AsJson = False) -> None:
    """Let the held posts of a connected account go on; says which have become too late."""
    from minitik_dagster.publishing.holds import release_held

    with transaction() as session:
        done = release_held(session, account_id, actor=operator_name())
    if as_json:
        as_object(vars(done))
        return
    say(f"{account_id}: {len(done.released)} released, {len(done.too_late)} too late")
    for publication_id in done.too_late:
        say(f"too late: {publication_id} stays held; move it to a new instant, or cancel it")


def disconnect_account(
    account_id: Annotated[str, typer.Argument(help="The account's id.")],
    cancel_posts: Annotated[
        bool, typer.Option("--cancel-posts", help="Cancel its posts; otherwise they are held.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Disconnect an account: its posts wait or are cancelled, its tokens are withdrawn and erased."""
    from minitik_dagster.publishing.disconnect import disconnect

    with transaction() as session:
        done = disconnect(
            session,
            account_id,
            posts="cancel" if cancel_posts else "hold",
            actor=operator_name(),
        )
    if as_json:
        as_object({**vars(done), "undone": [vars(item) for item in done.undone]})
        return
    say(f"{account_id}: disconnected; {len(done.held)} posts held, {len(done.cancelled)} cancelled")
    for item in done.undone:
        say(f"{item.publication_id} ({item.platform.value.lower()}): {item.text}")
    for publication_id in done.unconfirmed:
        say(f"{publication_id}: was sent; whether it went live can no longer be asked")
    say(f"next: {done.later}")
