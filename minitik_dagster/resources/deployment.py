"""Whether Dagster does anything here of its own accord: not beside the deployment that owns the database."""

from dagster import RunRequest, SkipReason
from sqlalchemy.exc import DBAPIError

from minitik_dagster.db.instance import not_ours, require_ours
from minitik_dagster.resources.database import DatabaseResource
from minitik_dagster.settings import load_settings


def why_idle() -> str | None:
    """Why a schedule or a sensor asks for nothing; None where it may.

    A database that does not answer cannot tell: then MINITIK_DISPATCH alone decides, and whoever works
    on the database asks again.
    """
    settings = load_settings()
    if settings.minitik_dispatch == "off":
        return "MINITIK_DISPATCH is off: this deployment does nothing of its own accord"
    if settings.database_url is None:
        return None
    try:
        with DatabaseResource().connect() as connection:
            reason = not_ours(connection, settings)
    except DBAPIError:
        return None
    return reason and f"{reason}: this deployment does nothing of its own accord"


def run_unless_idle() -> RunRequest | SkipReason:
    """Ask for a plain run, where this deployment does anything of its own accord."""
    idle = why_idle()
    return RunRequest() if idle is None else SkipReason(idle)


def require_own_database() -> None:
    """Raise ConfigurationError where what a job clears away is another deployment's."""
    with DatabaseResource().connect() as connection:
        require_ours(connection, load_settings())
