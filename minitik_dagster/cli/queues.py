"""`minitik queues`: what stands in each queue; pausing everything, a platform or an account."""

from typing import Annotated

import typer

from minitik_dagster.cli.output import AsJson, as_object, listing, say
from minitik_dagster.cli.people import operator_name
from minitik_dagster.cli.session import transaction

Everything = Annotated[bool, typer.Option("--all", help="Everything.")]
PlatformOption = Annotated[str | None, typer.Option("--platform", help="One platform.")]
AccountOption = Annotated[str | None, typer.Option("--account", help="One account's id.")]


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    group = typer.Typer(no_args_is_help=True, help="Queues: numbers, pause and resume.")
    group.command()(stats)
    group.command()(pause)
    group.command()(resume)
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
