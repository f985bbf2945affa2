"""`minitik dead-letters`: final failures with their story, and replaying them."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from minitik_dagster.cli.output import AsJson, as_object, listing, printable, say
from minitik_dagster.cli.people import operator_name
from minitik_dagster.cli.session import transaction

if TYPE_CHECKING:
    from minitik_dagster.publishing.dead_letters import Selection

Code = Annotated[str | None, typer.Option(help="Only those that failed with this code.")]
PlatformOption = Annotated[str | None, typer.Option("--platform", help="Only this platform's.")]
Since = Annotated[
    str | None, typer.Option("--from", help="Failed at or after (ISO 8601, UTC where no offset).")
]
Until = Annotated[str | None, typer.Option("--to", help="Failed before.")]


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    group = typer.Typer(no_args_is_help=True, help="Posts that failed for good.")
    group.command("list")(list_letters)
    group.command("show")(show)
    group.command("replay")(replay)
    group.command("discard")(discard)
    app.add_typer(group, name="dead-letters")


def list_letters(
    code: Code = None,
    platform: PlatformOption = None,
    since: Since = None,
    until: Until = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Resolved ones too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the newest first."""
    from dataclasses import replace

    from minitik_dagster.publishing import dead_letters

    selection = replace(_selection([], code, platform, since, until), resolved=resolved)
    with transaction() as session:
        found = dead_letters.list_dead_letters(session.connection(), selection, limit=limit)
    rows = [
        {
            "id": item.id,
            "createdAt": item.created_at,
            "platform": item.platform.value.lower(),
            "code": item.code,
            "reason": item.reason,
            "publicationId": item.publication_id,
            "resolution": item.resolution,
        }
        for item in found
    ]
    listing(rows, as_json=as_json, empty="no dead letters")


def show(letter_id: str, as_json: AsJson = False) -> None:
    """Show one failure: reason, fix, and every step with the platform's code and request id."""
    from minitik_dagster.publishing import dead_letters

    with transaction() as session:
        letter = dead_letters.get_dead_letter(session.connection(), letter_id)
    facts = vars(letter) | {"platform": letter.platform.value.lower()}
    if as_json:
        as_object(facts)
        return
    for name, value in facts.items():
        if value not in (None, "") and name != "story":
            say(f"{name:15} {printable(value)}")
    steps = [
        {
            "step": step["name"],
            "startedAt": step["startedAt"],
            "outcome": step["outcome"] or "open",
            "code": step["platformCode"],
            "requestId": step["requestId"],
            "message": (step["detail"] or {}).get("message"),
        }
        for step in letter.story
    ]
    listing(steps, as_json=False, empty="no step was taken")


def replay(
    ids: Annotated[
        list[str] | None, typer.Argument(help="Dead letters' or publications' ids.")
    ] = None,
    code: Code = None,
    platform: PlatformOption = None,
    since: Since = None,
    until: Until = None,
    at: Annotated[
        str | None, typer.Option(help="Publish at this instant (ISO 8601, UTC where no offset).")
    ] = None,
    new_max_lateness: Annotated[
        int | None, typer.Option(min=1, help="Seconds after its instant a post may still go out.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only the plan.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a replay would do with each post; with `--yes`, do it. Never posts twice."""
    from minitik_dagster.publishing import replay as replays

    slot = replays.Slot(
        at=_instant("--at", at),
        max_lateness=timedelta(seconds=new_max_lateness) if new_max_lateness else None,
    )
    selection = _selection(ids or [], code, platform, since, until)
    with transaction() as session:
        done = replays.replay(session, selection, slot=slot, dry_run=not yes, actor=operator_name())
    rows = [
        {
            "publicationId": item.publication_id,
            "platform": item.platform.value.lower(),
            "code": item.code,
            "dueAt": item.due_at,
            "action": item.action.value,
            "why": item.reason,
        }
        for item in done.items
    ]
    listing(rows, as_json=as_json, empty="no dead letter fits")
    if rows and not as_json:
        say(_ending(done))


def discard(letter_id: str) -> None:
    """Set a dead letter aside for good; its post stays failed."""
    from minitik_dagster.publishing import dead_letters

    with transaction() as session:
        letter = dead_letters.discard(session.connection(), letter_id, actor=operator_name())
    say(f"{letter.id}: discarded")


def _ending(done: object) -> str:
    from minitik_dagster.publishing.replay import ACTING, Replay

    assert isinstance(done, Replay)
    acting = sum(done.counts[action.value] for action in ACTING)
    more = "; there are more, replay again" if done.more else ""
    if done.done:
        return f"{acting} replayed{more}"
    return f"{acting} would be replayed{more}; nothing was changed, repeat with --yes"


def _selection(
    ids: list[str], code: str | None, platform: str | None, since: str | None, until: str | None
) -> "Selection":
    from minitik_dagster.db.types import Platform
    from minitik_dagster.publishing.dead_letters import Selection

    if platform is not None and platform.upper() not in Platform.__members__:
        names = ", ".join(item.value.lower() for item in Platform)
        raise typer.BadParameter(f"platform {platform!r} is not one of {names}")
    return Selection(
        ids=tuple(ids),
        code=code,
        platform=Platform(platform.upper()) if platform else None,
        since=_instant("--from", since),
        until=_instant("--to", until),
    )


def _instant(option: str, given: str | None) -> datetime | None:
    from minitik_dagster.scheduling.instants import resolve

    return resolve(given, "UTC", field=option).at if given is not None else None
