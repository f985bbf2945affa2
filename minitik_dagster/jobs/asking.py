"""Whether a schedule whose runs ask the platforms asks for a run here."""

from dagster import SkipReason

from minitik_dagster.accounts.admission import ASKS_NO_PLATFORM
from minitik_dagster.settings import load_settings


def skip_where_no_platform_is_asked() -> SkipReason | None:
    """Return why no run is asked for: MINITIK_DISPATCH is off. None where the platforms may be asked."""
    return SkipReason(ASKS_NO_PLATFORM) if load_settings().minitik_dispatch == "off" else None
