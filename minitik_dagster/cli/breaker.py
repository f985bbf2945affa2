"""`minitik breaker`: the circuit breaker of each platform."""

import typer

from minitik_dagster.cli.output import AsJson, listing, say
from minitik_dagster.errors import ConfigurationError


def register(app: typer.Typer) -> None:
    """Add the sub-commands."""
    group = typer.Typer(no_args_is_help=True, help="Circuit breakers.")
    group.command()(status)
    group.command()(reset)
    app.add_typer(group, name="breaker")


def _redis_url() -> str:
    from minitik_dagster.settings import load_settings

    url = load_settings().redis_url
    if url is None:
        raise ConfigurationError(["REDIS_URL is not set: the breakers live there"])
    return url.get_secret_value()


def status(as_json: AsJson = False) -> None:
    """Show each platform's breaker."""
    from minitik_dagster.resilience.breaker import read_states

    listing([vars(item) for item in read_states(_redis_url())], as_json=as_json)


def reset(platform: str) -> None:
    """Close a platform's breaker now (deletes its keys)."""
    from minitik_dagster.db.types import Platform
    from minitik_dagster.resilience.breaker import reset_breaker

    try:
        chosen = Platform(platform.upper())
    except ValueError:
        names = ", ".join(item.value.lower() for item in Platform)
        raise typer.BadParameter(f"platform {platform!r} is not one of {names}") from None
    reset_breaker(_redis_url(), chosen)
    say(f"{chosen.value.lower()}: closed")
