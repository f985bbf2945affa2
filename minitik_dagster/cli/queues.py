"""`minitik queues`: what stands in each queue; pausing and draining everything or a part of it."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from minitik_dagster.cli.output import AsJson, as_object, listing, say
from minitik_dagster.cli.people import operator_name
from minitik_dagster.cli.session import database, transaction

if TYPE_CHECKING:
    from minitik_dagster.operations.drains import Restored

Everything = Annotated[bool, typer.Option("--all", help="Everything.")]
PlatformOption = Annotated[str | None, typer.Option("--platform", help="One platform.")]
AccountOption = Annotated[str | None, typer.Option("--account", help="One account's id.")]


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    group = typer.Typer(no_args_is_help=True, help="Queues: numbers, pause, drain.")
    group.command()(stats)
    group.command()(pause)
    group.command()(resume)
    group.command()(drain)
    group.command()(drained)
    group.command()(restore)
    app.add_typer(group, name="queues")


def stats(as_json: AsJson = False) -> None:
    """Count what stands in each queue, and name the pauses in force."""
    from dataclasses import asdict

    from minitik_dagster.publishing import pauses
    from minitik_dagster.scheduling.counts import queue_metrics

    with transaction() as session:
        metrics = queue_metrics(session)
        paused = pauses.list_pauses(session.connection())
    if as_json:
        as_object(
            {
                "queues": [asdict(queue) for queue in metrics.queues],
                "totals": asdict(metrics.totals),
                "pauses": [vars(item) for item in paused],
                "collectedAt": metrics.collected_at,
            }
        )
        return
    listing(
        [{"queue": queue.name, **asdict(queue.counts)} for queue in metrics.queues], as_json=False
    )
    for item in paused:
        say(f"paused: {item.scope} by {item.actor}" + (f" ({item.reason})" if item.reason else ""))


def pause(
    everything: Everything = False,
    platform: PlatformOption = None,
    account: AccountOption = None,
    reason: Annotated[str, typer.Option(help="Why; the posts' owners see it.")] = "",
) -> None:
    """Pause a scope: its posts wait from within a second; what was sent is still confirmed."""
    from minitik_dagster.publishing import pauses

    scope = pauses.Scope.of(everything=everything, platform=platform, account_id=account)
    with transaction() as session:
        cost = pauses.pause(session.connection(), scope, reason=reason, actor=operator_name())
    say(
        f"{scope}: paused; {cost.waiting} posts of {cost.creators} creators wait or would begin "
        "within the hour"
    )


def resume(
    everything: Everything = False, platform: PlatformOption = None, account: AccountOption = None
) -> None:
    """Resume a scope; posts that have become too late meanwhile fail now, with a dead letter."""
    from minitik_dagster.publishing import pauses

    scope = pauses.Scope.of(everything=everything, platform=platform, account_id=account)
    with transaction() as session:
        done = pauses.resume(session.connection(), scope, actor=operator_name())
    say(f"{scope}: resumed; {done.released} posts go on, {done.too_late} of them are too late")


def drain(
    everything: Everything = False,
    platform: PlatformOption = None,
    account: AccountOption = None,
    only: Annotated[
        Literal["waiting", "delayed"] | None,
        typer.Option(help="Only what is due already (waiting), or only what is not yet (delayed)."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only the plan.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a drain would cancel; with `--yes`, cancel it. `queues restore` undoes it."""
    from minitik_dagster.operations import drains
    from minitik_dagster.publishing.pauses import Scope

    scope = Scope.of(everything=everything, platform=platform, account_id=account)
    if yes:
        with database() as engine:
            done = drains.drain(engine, scope, actor=operator_name(), part=only)
    else:
        with transaction() as session:
            done = drains.plan_drain(session, scope, only)
    if as_json:
        as_object(
            {
                "batch": done.batch,
                "drained": done.posts,
                "scope": done.scope,
                "shares": [vars(share) for share in done.shares],
            }
        )
        return
    listing([vars(share) for share in done.shares], as_json=False, empty="nothing to drain")
    if done.batch is not None:
        say(f"{done.posts} cancelled; undo: minitik queues restore {done.batch}")
    elif done.planned:
        say(f"{done.planned} would be cancelled; nothing was changed, repeat with --yes")


def drained(as_json: AsJson = False) -> None:
    """List the drains that were done, and how many posts of each have not been put back."""
    from minitik_dagster.operations import drains

    with transaction() as session:
        found = drains.list_batches(session)
    listing([vars(item) for item in found], as_json=as_json, empty="nothing was drained")


def restore(
    batch: Annotated[str, typer.Argument(help="The batch's id, as drain and drained tell it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only the plan.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a restore would put back; with `--yes`, put it back. Nothing goes out twice."""
    from minitik_dagster.operations import drains

    if yes:
        with database() as engine:
            done = drains.restore(engine, batch, actor=operator_name())
    else:
        with transaction() as session:
            done = drains.plan_restore(session, batch)
    if as_json:
        as_object(
            {
                "batch": done.batch,
                "done": done.done,
                "counts": dict(done.counts),
                "tooLate": done.too_late,
                "stay": [{"publicationId": one, "why": why} for one, why in done.stay],
            }
        )
        return
    _say_restored(done)


def _say_restored(done: "Restored") -> None:
    for publication, why in done.stay:
        say(f"{publication}: stays cancelled ({why})")
    verb = "put back" if done.done else "would be put back"
    late = f"; {done.too_late} of them are too late and fail" if done.too_late else ""
    say(f"{done.counts['restore']} {verb}{late}")
    if not done.done:
        say("nothing was changed, repeat with --yes")
