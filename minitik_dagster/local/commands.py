"""The commands `up` and `demo` as typer functions; the CLI registers them lazily."""

from pathlib import Path
from typing import Annotated

import typer

API_PORT, DAGSTER_PORT, SANDBOX_PORT = 8000, 3000, 8100

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        readable=False,  # judged by us, in words that name the fix
        help="Where everything is kept; default: MINITIK_HOME, else .minitik in this folder.",
    ),
]


def up(
    data_dir: DataDir = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The API's port; 0 takes any free one.")
    ] = API_PORT,
    dagster_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The Dagster web UI's port; 0 takes any free one.")
    ] = DAGSTER_PORT,
    sandbox_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="The platform sandbox's port; 0 takes any free one."),
    ] = SANDBOX_PORT,
    demo: Annotated[
        bool | None,
        typer.Option(
            "--demo/--no-demo",
            help="Seed a demo user and start the sandbox; default: only on a database of our own.",
        ),
    ] = None,
) -> None:
    """Start all that is not configured, and stay up until Ctrl-C."""
    from minitik_dagster.local.plan import StackOptions
    from minitik_dagster.local.up import run_up

    options = StackOptions(
        data_dir=_data_dir(data_dir),
        api_port=port,
        dagster_port=dagster_port,
        sandbox_port=sandbox_port,
        demo=demo,
    )
    raise typer.Exit(run_up(options))


def demo(
    data_dir: DataDir = None,
    keep: Annotated[bool, typer.Option(help="Leave the stack up afterwards.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Send a real video through upload, schedule and publish on all three platforms."""
    from minitik_dagster.local.demo import run_demo

    raise typer.Exit(run_demo(_data_dir(data_dir), keep=keep, as_json=json))


def _data_dir(chosen: Path | None) -> Path:
    from minitik_dagster.settings import load_settings

    return chosen if chosen is not None else Path(load_settings().minitik_home)
