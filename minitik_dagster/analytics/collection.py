"""Is the readings' collection what it must be? Made where it is absent, told where it is not.

The embedded server keeps a time-series collection as a plain one and tells no options of any collection:
there a marker of our own stands for them. Nothing of it is deleted by age there either.
"""

from collections.abc import Mapping
from typing import Any, Final

from pymongo.database import Database

from minitik_dagster.analytics.names import (
    PARTITIONS,
    READING_INDEXES,
    READINGS,
    RETENTION_SECONDS,
    TIME_SERIES,
)
from minitik_dagster.errors import ConfigurationError

_MARKER: Final = "schema"
_EMBEDDED: Final = "nx_27017"
_NAMESPACE_EXISTS: Final = 48


class AnalyticsCollectionError(ConfigurationError):
    """The collection `analytics` is not the time-series collection it must be; says what to do."""


def is_embedded(database: Database[dict[str, Any]]) -> bool:
    """Whether the server is the local stack's, which bears less than a real one."""
    return str(database.command("buildInfo").get("process")) == _EMBEDDED


def require_time_series(database: Database[dict[str, Any]]) -> None:
    """Create the collection and its indexes where they are absent.

    Raises AnalyticsCollectionError when the name belongs to a plain collection.
    """
    from pymongo.errors import CollectionInvalid, OperationFailure

    if _options(database) is None:
        try:
            database.create_collection(
                READINGS, timeseries=dict(TIME_SERIES), expireAfterSeconds=RETENTION_SECONDS
            )
        except (CollectionInvalid, OperationFailure) as error:
            # Somebody else made it at the same moment.
            if getattr(error, "code", _NAMESPACE_EXISTS) != _NAMESPACE_EXISTS:
                raise
        if is_embedded(database):
            marker = {"timeseries": dict(TIME_SERIES), "expireAfterSeconds": RETENTION_SECONDS}
            database[PARTITIONS].update_one({"_id": _MARKER}, {"$set": marker}, upsert=True)
    found = _options(database) or {}
    if "timeseries" not in found:
        problem = (
            f"MongoDB holds a plain collection {READINGS!r} in database {database.name!r}: rename it "
            f"(db.{READINGS}.renameCollection('{READINGS}_old')), run `minitik analytics ensure`, "
            "and insert its documents into the new collection"
        )
        raise AnalyticsCollectionError([problem])
    for keys in READING_INDEXES:
        database[READINGS].create_index(list(keys))


def problems(database: Database[dict[str, Any]]) -> list[str]:
    """Return what is not as the runbook says, in words for an operator; empty = all is well."""
    found = _options(database)
    if found is None:
        return [f"there is no collection {READINGS!r}; make it: minitik analytics ensure"]
    if "timeseries" not in found:
        return [f"{READINGS!r} is a plain collection; see: minitik analytics ensure"]
    wrong = []
    told = found["timeseries"]
    for name, wanted in TIME_SERIES.items():
        if told.get(name) != wanted:
            wrong.append(f"{READINGS!r}: {name} is {told.get(name)!r}, not {wanted!r}")
    if found.get("expireAfterSeconds") != RETENTION_SECONDS:
        wrong.append(
            f"{READINGS!r}: expireAfterSeconds is {found.get('expireAfterSeconds')}, not "
            f"{RETENTION_SECONDS}; set it: db.runCommand({{collMod: '{READINGS}', "
            f"expireAfterSeconds: {RETENTION_SECONDS}}})"
        )
    there = {
        tuple(name for name, _ in index["key"])
        for index in database[READINGS].index_information().values()
    }
    missing = [keys[0][0] for keys in READING_INDEXES if tuple(n for n, _ in keys) not in there]
    if missing:
        wrong.append(f"{READINGS!r} lacks the indexes on {', '.join(missing)}, timestamp")
    return wrong


def _options(database: Database[dict[str, Any]]) -> Mapping[str, Any] | None:
    """Return the options of the readings' collection; None where it does not exist."""
    found = list(database.list_collections(filter={"name": READINGS}))
    mine = [one for one in found if one["name"] == READINGS]
    if not mine:
        return None
    if is_embedded(database):
        return dict(database[PARTITIONS].find_one({"_id": _MARKER}) or {})
    options: Mapping[str, Any] = mine[0].get("options") or {}
    return options
