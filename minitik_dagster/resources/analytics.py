"""MongoDB and S3 for assets: resources that hold no value, and the IO managers of rollups and exports."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from dagster import (
    ConfigurableIOManager,
    ConfigurableResource,
    InputContext,
    MetadataValue,
    OutputContext,
)

from minitik_dagster.analytics.late import note_late
from minitik_dagster.analytics.readings import Reading, earliest_per_slot
from minitik_dagster.analytics.rollup import Rollup
from minitik_dagster.analytics.store import AnalyticsStore
from minitik_dagster.errors import DependencyDownError
from minitik_dagster.settings import Settings, load_settings

COLLECTION = "minitik/collection"
"""The asset's metadata that names its rollup's collection."""


class MongoResource(ConfigurableResource[None]):
    """Lends the store of MONGODB_URI; holds neither the URI nor a connection itself."""

    @contextmanager
    def store(self) -> Iterator[AnalyticsStore]:
        """Yield the process's store; DependencyDownError where MongoDB is not there."""
        yield _store_of(load_settings())


def _store_of(settings: Settings) -> AnalyticsStore:
    if settings.mongodb_uri is None:
        raise DependencyDownError("mongodb", "MONGODB_URI is not set")
    return _store(settings.mongodb_uri.get_secret_value(), settings.mongodb_db)


def late_days(settings: Settings) -> list[str]:
    """Return the days to be rolled up again; none where MongoDB is not there: what is due waits."""
    try:
        return _store_of(settings).late_days()
    except DependencyDownError:
        return []


@lru_cache(maxsize=4)
def _store(uri: str, database: str) -> AnalyticsStore:
    return AnalyticsStore(uri, database)


class MongoReadingsIOManager(ConfigurableIOManager):
    """Inserts an hour's readings that are not there yet, and hands an hour's readings on.

    A reading is never rewritten. A run that reads platforms stores each batch at once, as it can never
    be had again: what it returns has no value, and nothing passes here.
    """

    def handle_output(self, context: OutputContext, obj: Sequence[Mapping[str, Any]]) -> None:
        """Insert what is missing; says how many of how many. TypeError for what is no such reading."""
        slots = {_slot(key) for key in context.asset_partition_keys}
        documents = [_reading(context, one, slots) for one in obj]
        store = _store_of(load_settings())
        inserted = store.insert_missing(documents)
        note_late(store, documents, datetime.now(UTC))
        context.add_output_metadata(
            {
                "readings": MetadataValue.int(len(documents)),
                "inserted": MetadataValue.int(inserted),
            }
        )

    def load_input(self, context: InputContext) -> list[Reading]:
        """Return the readings of the hours that the run asks for, the earliest of each post and slot."""
        store = _store_of(load_settings())
        slots = [_slot(key) for key in context.asset_partition_keys]
        return earliest_per_slot(one for slot in slots for one in store.of_slot(slot))


def _slot(key: str) -> datetime:
    return datetime.strptime(key, "%Y-%m-%d-%H:%M").replace(tzinfo=UTC)


def _reading(
    context: OutputContext, document: Mapping[str, Any], slots: set[datetime]
) -> dict[str, Any]:
    name = context.asset_key.to_user_string()
    if not isinstance(document, Mapping) or not isinstance(document.get("timestamp"), datetime):
        raise TypeError(f"{name}: documents of readings are stored here")
    if document.get("slot") not in slots or not document.get("metadata", {}).get("publicationId"):
        raise TypeError(
            f"{name}: a reading of one of the run's hours, and of a post, is stored here"
        )
    return dict(document)


class MongoRollupIOManager(ConfigurableIOManager):
    """Writes a `Rollup`'s partitions whole, and hands them on; what is no Rollup is refused."""

    def handle_output(self, context: OutputContext, obj: Rollup) -> None:
        """Replace each partition; says how many documents there are and how many parts changed."""
        if not isinstance(obj, Rollup):
            raise TypeError(f"{context.asset_key.to_user_string()}: a Rollup is stored here")
        documents = partitions = changed = 0
        store = _store_of(load_settings())
        for partition, rows in obj.parts:
            documents_of_it = list(rows)
            changed += obj.put(store, _collection(context), partition, documents_of_it)
            documents += len(documents_of_it)
            partitions += 1
        context.add_output_metadata(
            {
                "documents": MetadataValue.int(documents),
                "partitions": MetadataValue.int(partitions),
                "partitions_changed": MetadataValue.int(changed),
            }
        )

    def load_input(self, context: InputContext) -> list[dict[str, Any]]:
        """Return the documents of the asset's partitions that the run asks for, or all of them."""
        upstream = context.upstream_output
        assert upstream is not None
        store, name = _store_of(load_settings()), _collection(upstream)
        keys = context.asset_partition_keys if context.has_asset_partitions else None
        return store.rows(name, list(keys or store.partitions(name)), {})


def _collection(context: OutputContext) -> str:
    metadata = context.definition_metadata or {}
    return str(metadata[COLLECTION])


RESOURCES: Final[Mapping[str, ConfigurableResource[Any] | ConfigurableIOManager]] = (
    MappingProxyType(
        {
            "mongo": MongoResource(),
            "readings": MongoReadingsIOManager(),
            "rollups": MongoRollupIOManager(),
        }
    )
)
"""What the composition root wires, by the names that assets use."""
