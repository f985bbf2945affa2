"""`minitik adopt`: take the old system's queue over."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from minitik_dagster.cli.output import AsJson, as_object, say
from minitik_dagster.cli.session import transaction

if TYPE_CHECKING:
    from minitik_dagster.scheduling.adopt import Adoption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("adopt")(adopt)


def adopt(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only report.")] = False,
    tiktok_privacy: Annotated[
        str | None,
        typer.Option(help="For TikTok accounts whose creator never chose one: ask the creator."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn the old system's pending jobs into publications, once; the old queue must be paused."""
    from minitik_dagster.scheduling import adopt as adoption
    from minitik_dagster.settings import load_settings

    secret = load_settings().redis_url
    redis_url = secret.get_secret_value() if secret else None
    take = adoption.adopt if yes else adoption.find
    with transaction() as session:
        found = take(session, redis_url, tiktok_privacy=tiktok_privacy)
    if as_json:
        as_object(_facts(found))
        return
    _tell(found)


def _facts(found: "Adoption") -> dict[str, object]:
    facts = asdict(found)
    queue = facts.pop("old_queue")
    known = None if queue is None else sorted(queue.pop("known"))
    return facts | {"old_queue": None if queue is None else queue | {"known": known}}


def _tell(found: "Adoption") -> None:
    becomes = "became" if found.applied else "would become"
    say(f"{found.jobs} open jobs of the old system")
    for stage, count in sorted(found.publications.items()):
        say(f"{count} publications {becomes} {stage}")
    for stage, count in sorted(found.history.items()):
        say(f"{count} earlier publications {becomes} {stage}")
    for line in (*found.holds, *found.problems):
        say(f"note: {line}")
    if found.old_queue is None:
        say("note: REDIS_URL is not set: the old queue was not looked at")
    elif found.old_queue.known:
        say(
            f"note: the old queue still holds {len(found.old_queue.known)} of these jobs; each post "
            "waits until its job is removed there"
        )
    if found.applied:
        say("adopted")
    elif found.jobs or found.publications or found.history:
        say("nothing was changed; run: minitik adopt --yes")
    else:
        say("nothing to adopt")
