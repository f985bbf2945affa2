"""`minitik upload`: a file through the HTTP API, as any program would send it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minitik_dagster.cli.output import AsJson, as_object, printable, say

if TYPE_CHECKING:  # importing the HTTP client takes a while: `--help` does not need it
    from minitik_dagster.client.upload import Progress


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(upload)


def upload(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The video.")
    ],
    title: Annotated[str | None, typer.Option(help="Default: the file's name.")] = None,
    description: Annotated[str | None, typer.Option(help="The caption, if no other.")] = None,
    mime_type: Annotated[
        str | None, typer.Option("--type", help="Default: by the file's ending.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=16, help="Parts at a time.")] = 2,
    state: Annotated[
        Path | None, typer.Option(help="Where to remember it (default: beside the file).")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Drop what an earlier attempt has sent.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a video; started again after an interruption it goes on."""
    from minitik_dagster.client import upload as client
    from minitik_dagster.client.api import ApiClient

    wish = client.Wish(file, title, description, mime_type)
    with ApiClient(*_server()) as api, _bar(file.name) as progress:
        done = client.upload(
            api, wish, workers=workers, state=state, restart=restart, progress=progress
        )
    if as_json:
        as_object(done)
        return
    say(f"{done['contentId']}: {printable(done['title'])}, {_facts(done)}")
    for verdict in done["verdicts"]:
        say(f"{verdict['platform']}: {'accepted' if verdict['accepted'] else 'refused'}")
        for kind in ("errors", "warnings"):
            for finding in verdict[kind]:
                said = f"{finding['rule']} is {finding['found']}, limit {finding['limit']}"
                say(f"  {kind[:-1]}: {printable(said)}. {printable(finding['fix'])}")


def _facts(done: dict[str, Any]) -> str:
    media = done["media"]
    length = f"{media['duration']:g} s" if media["duration"] else "no stated length"
    return f"{media['width']}x{media['height']}, {length}, {media['videoCodec']}"


def _server() -> tuple[str, Any]:
    """Where the API is and the key: the environment's, else those of a running `minitik up`."""
    from pydantic import SecretStr

    from minitik_dagster.errors import ConfigurationError
    from minitik_dagster.settings import load_settings

    settings = load_settings()
    url, key = settings.minitik_api_url, settings.minitik_api_key
    if key is None and url is None:
        from minitik_dagster.local.data_folder import DataFolder
        from minitik_dagster.local.endpoints import running_endpoints

        beside = running_endpoints(DataFolder(Path(settings.minitik_home)))
        if beside is not None and beside.apiKey is not None:
            return beside.api, SecretStr(beside.apiKey)
    if key is None:
        raise ConfigurationError(["MINITIK_API_KEY is not set; make a key: minitik keys create"])
    return url or settings.nextauth_url, key


@contextmanager
def _bar(name: str) -> Iterator["Progress"]:
    """A progress bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(printable(name), total=None)
        yield lambda sent, size: bar.update(task, completed=sent, total=size)
