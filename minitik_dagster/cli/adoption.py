"""`minitik adopt`: take an old deployment over."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minitik_dagster.cli.output import AsJson, as_object, listing, say
from minitik_dagster.cli.session import database

if TYPE_CHECKING:
    from minitik_dagster.operations.adoption_survey import Item
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
    queue_is_gone: Annotated[
        bool, typer.Option("--queue-is-gone", help="REDIS_URL is right; its queue was deleted.")
    ] = False,
    forget_old_keys: Annotated[
        bool,
        typer.Option("--forget-old-keys", help="Delete what Redis still holds of the old queues."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Turn the old system's pending jobs into publications, once; its queue is paused and stays so."""
    from sqlalchemy.orm import Session

    from minitik_dagster.scheduling import adopt as adoption
    from minitik_dagster.settings import load_settings

    settings = load_settings()
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    with database() as engine:
        if forget_old_keys:
            _forget(engine, redis_url, yes=yes)
            return
        if yes:
            found = adoption.adopt(
                engine, redis_url, tiktok_privacy=tiktok_privacy, queue_is_gone=queue_is_gone
            )
            items: list[Item] = []
        else:
            from minitik_dagster.operations.adoption_survey import survey

            with engine.connect() as connection:
                items = survey(connection, settings)
            with Session(engine) as session:
                found = adoption.find(session, redis_url, tiktok_privacy=tiktok_privacy)
    if as_json:
        as_object(_facts(found) | ({"stores": [asdict(item) for item in items]} if items else {}))
        return
    if items:
        listing([asdict(item) for item in items], as_json=False)
    _tell(found)


def _forget(engine: Any, redis_url: str | None, *, yes: bool) -> None:
    from minitik_dagster.operations.old_keys import forget, forgettable

    counts = forget(engine, redis_url) if yes else forgettable(engine, redis_url)
    for name, count in counts.items():
        say(f"{count} keys of the queue {name}{' deleted' if yes else ''}")
    if not yes:
        say("nothing was changed; run: minitik adopt --forget-old-keys --yes")


def _facts(found: "Adoption") -> dict[str, object]:
    facts = asdict(found)
    facts.pop("old_queue")
    queue = found.old_queue
    told: Mapping[str, object] | None = None
    if queue is not None:
        told = {
            "exists": queue.exists,
            "paused": queue.paused,
            "active": len(queue.in_hand),
            "known": sorted(queue.known),
            "counts": dict(queue.counts),
        }
    return facts | {"old_queue": told}


def _tell(found: "Adoption") -> None:
    becomes = "became" if found.applied else "would become"
    say(f"{found.jobs} open jobs of the old system")
    for stage, count in sorted(found.publications.items()):
        say(f"{count} publications {becomes} {stage}")
    for stage, count in sorted(found.history.items()):
        say(f"{count} earlier publications {becomes} {stage}")
    queue = found.old_queue
    if queue is None:
        say("note: REDIS_URL is not set: the old queue was not looked at")
    elif queue.exists:
        stands = ", ".join(f"{count} {name}" for name, count in queue.counts.items()) or "empty"
        say(f"the old queue: {stands}; {'paused' if queue.paused else 'running'}")
        left = "left" if found.applied else "would leave"
        say(f"{found.removed} of its jobs {left} it; {found.strangers} others stay in it")
        if not queue.paused:
            say("it was paused" if found.applied else "it would be paused, and stays so")
    for line in (*found.holds, *found.problems):
        say(f"note: {line}")
    if found.applied:
        say("adopted")
    elif found.jobs or found.publications or found.history or found.removed:
        say("nothing was changed; run: minitik adopt --yes")
    else:
        say("nothing to adopt")
