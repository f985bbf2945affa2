"""`minitik doctor`: every part looked at by what is done with it, each with the fix.

Nothing is changed: what a check writes (a key in Redis, an object in the bucket) it deletes again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from minitik_dagster.db.engine import make_engine
from minitik_dagster.operations import (
    doctor_database,
    doctor_platforms,
    doctor_stores,
    doctor_variables,
)
from minitik_dagster.operations.findings import Finding, guarded
from minitik_dagster.settings import Settings

Look = Callable[[Settings], Iterator[Finding]]
_STORES: Final[Mapping[str, Look]] = {
    "encryption key": doctor_variables.keys,
    "redirect URLs": doctor_variables.addresses,
    "redis": doctor_stores.redis,
    "mongodb": doctor_stores.mongodb,
    "s3": doctor_stores.s3,
    "apps": doctor_platforms.look,
}


def examine(
    settings: Settings | None,
    problems: Mapping[str, str],
    further: Mapping[str, Look] | None = None,
) -> Sequence[Finding]:
    """Make every check that can be made of this environment; `further` ones after ours."""
    found = guarded("variables", lambda: doctor_variables.variables(settings, problems))
    if settings is None:
        return found
    if settings.database_url is not None:
        engine = make_engine(settings.require_database_url(), pool_size=1, max_overflow=1)
        try:
            found += guarded("postgresql", lambda: doctor_database.look(engine, settings))
        finally:
            engine.dispose()
    for check, look in {**_STORES, **(further or {})}.items():
        found += guarded(check, lambda look=look: look(settings))  # type: ignore[misc]
    return found
