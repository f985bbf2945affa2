"""MongoDB: the readings' time-series collection, insert only, and the rollups beside it.

A real server refuses upserts and updates in a time-series collection and has no unique index there
(MongoDB manual, "Time Series Collection Limitations"): readings are only ever inserted, and readers take
the earliest per post and slot. Rollups lie in ordinary collections; a partition is replaced whole: the
new documents are written first, then the partition's pointer is moved to them, then the old ones go.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Self

import pymongo
from bson import json_util
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

from minitik_dagster.analytics.collection import problems, require_time_series
from minitik_dagster.analytics.names import (
    PARTITIONS,
    READINGS,
    ROLLUP_INDEXES,
)
from minitik_dagster.analytics.readings import Reading
from minitik_dagster.errors import DependencyDownError
from minitik_dagster.ids import new_id
from minitik_dagster.settings import Settings

Document = dict[str, Any]
_TIMEOUT_MS: Final = 2_000
_SOCKET_MS: Final = 60_000
# Ids in one question: a question's size stays far below what a server takes.
_IDS_AT_ONCE: Final = 500
_INSERT_AT_ONCE: Final = 1_000
_TRIES: Final = 5


@contextmanager
def mongo_errors() -> Iterator[None]:
    """Let every failure of the server leave as DependencyDownError, without its text (it may hold a URL)."""
    try:
        yield
    except BulkWriteError as error:
        codes = sorted({str(one.get("code")) for one in error.details.get("writeErrors", ())})
        problem = f"MongoDB refused documents (codes {', '.join(codes)})"
        raise DependencyDownError("mongodb", problem) from None
    except PyMongoError as error:
        problem = f"MongoDB does not answer ({type(error).__name__})"
        raise DependencyDownError("mongodb", problem) from None


class AnalyticsStore:
    """The database of MONGODB_DB. Threads may share one; `close` gives the connections back."""

    def __init__(self, uri: str, database: str, *, timeout_ms: int = _TIMEOUT_MS) -> None:
        with mongo_errors():
            self._client: pymongo.MongoClient[Document] = pymongo.MongoClient(
                uri,
                tz_aware=True,
                tzinfo=UTC,
                serverSelectionTimeoutMS=timeout_ms,
                connectTimeoutMS=timeout_ms,
                socketTimeoutMS=_SOCKET_MS,
                retryWrites=False,
            )
        self._database: Database[Document] = self._client[database]
        self._ensured = False

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make the store; DependencyDownError when MONGODB_URI is not set. Connects at its first use."""
        if settings.mongodb_uri is None:
            raise DependencyDownError("mongodb", "MONGODB_URI is not set")
        return cls(settings.mongodb_uri.get_secret_value(), settings.mongodb_db)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def database(self) -> Database[Document]:
        """The database itself, its collections made: for checks and tests."""
        self.ensure()
        return self._database

    def ensure(self) -> None:
        """Create what is absent, once per store.

        Raises AnalyticsCollectionError when a plain collection has the name of the readings'.
        """
        if self._ensured:
            return
        with mongo_errors():
            require_time_series(self._database)
            for name, indexes in ROLLUP_INDEXES.items():
                for keys in indexes:
                    self._database[name].create_index(list(keys))
        self._ensured = True

    def problems(self) -> list[str]:
        """Return what of the readings' collection is not as it must be; changes nothing."""
        with mongo_errors():
            return problems(self._database)

    def _collection(self, name: str) -> Collection[Document]:
        return self.database[name]

    # Readings

    def taken(self, slot: datetime) -> set[str]:
        """Return the publications whose reading of `slot` is there."""
        with mongo_errors():
            found = self._collection(READINGS).find(
                {"slot": slot, "timestamp": {"$gte": slot}}, {"metadata.publicationId": 1, "_id": 0}
            )
            return {_publication(document) for document in found}

    def insert_missing(self, documents: Sequence[Document]) -> int:
        """Insert the readings whose post and slot have none yet; returns how many. Rewrites nothing."""
        known = {slot: self.taken(slot) for slot in {one["slot"] for one in documents}}
        missing = []
        for document in documents:
            taken, publication_id = known[document["slot"]], _publication(document)
            if publication_id not in taken:
                taken.add(publication_id)
                missing.append(document)
        return self.insert(missing)

    def of_slot(self, slot: datetime) -> Iterator[Reading]:
        """Yield the readings that were taken for a due instant, in no order."""
        with mongo_errors():
            query = {"slot": slot, "timestamp": {"$gte": slot}}
            for document in self._collection(READINGS).find(query):
                yield Reading.from_document(document)

    def insert(self, documents: Sequence[Document]) -> int:
        """Insert new readings, and nothing else; returns how many."""
        with mongo_errors():
            for start in range(0, len(documents), _INSERT_AT_ONCE):
                self._collection(READINGS).insert_many(
                    documents[start : start + _INSERT_AT_ONCE], ordered=False
                )
        return len(documents)

    def readings(
        self,
        publication_ids: Sequence[str],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[Reading]:
        """Yield the readings of these publications with since < timestamp <= until, in no order."""
        found = self._readings("metadata.publicationId", publication_ids, {}, since, until)
        for document in found:
            yield Reading.from_document(document)

    def _readings(
        self,
        field: str,
        values: Sequence[str],
        query: Mapping[str, Any],
        since: datetime | None,
        until: datetime | None,
    ) -> Iterator[Document]:
        span = {"$gt": since, "$lte": until}
        bounds = {name: instant for name, instant in span.items() if instant is not None}
        with mongo_errors():
            for start in range(0, len(values), _IDS_AT_ONCE):
                some = list(values[start : start + _IDS_AT_ONCE])
                asked = {**query, field: {"$in": some}}
                if bounds:
                    asked["timestamp"] = bounds
                yield from self._collection(READINGS).find(asked)

    def read_between(self, since: datetime, until: datetime) -> tuple[list[str], list[str]]:
        """Return what was read in (since, until]: publications, and contents the old collector read.

        Its documents name no publication.
        """
        span = {"timestamp": {"$gt": since, "$lte": until}}
        with mongo_errors():
            ids = self._collection(READINGS).distinct("metadata.publicationId", span)
            old = {**span, "metadata.publicationId": None}
            contents = self._collection(READINGS).distinct("metadata.contentId", old)
        return sorted(str(one) for one in ids if one), sorted(str(one) for one in contents if one)

    def old_documents(
        self,
        content_ids: Sequence[str],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[Document]:
        """Yield the old collector's documents of these contents with since < timestamp <= until."""
        query = {"metadata.publicationId": None}
        yield from self._readings("metadata.contentId", content_ids, query, since, until)

    # Days to be rolled up again

    def note_late_days(self, days: Sequence[str], *, at: datetime) -> None:
        """Note that readings of these days (`YYYY-MM-DD`) arrived at `at`, after their end."""
        with mongo_errors():
            for day in days:
                self._collection(PARTITIONS).update_one(
                    {"_id": f"late:{day}"}, {"$set": {"late": day}, "$max": {"at": at}}, upsert=True
                )

    def late_days(self) -> list[str]:
        """Return the days that were noted and not made again since."""
        with mongo_errors():
            found = self._collection(PARTITIONS).find({"late": {"$exists": True}})
            return sorted(str(one["late"]) for one in found)

    def settle_late_day(self, day: str, *, before: datetime) -> None:
        """Forget a day's note: what came until `before` is in its rollup."""
        with mongo_errors():
            self._collection(PARTITIONS).delete_one({"_id": f"late:{day}", "at": {"$lte": before}})

    # Rollups

    def replace_partition(
        self, name: str, partition: str, documents: Iterable[Document], *, at: datetime
    ) -> bool:
        """Put these documents in the place of the partition's; False where they are the same ones.

        Readers see the old partition or the new one, never half of one.
        """
        documents = list(documents)
        digest = _digest(documents)
        pointer_id = f"{name}:{partition}"
        pointers, rows = self._collection(PARTITIONS), self._collection(name)
        with mongo_errors():
            present = pointers.find_one({"_id": pointer_id})
            if present is not None and present.get("digest") == digest:
                return False
            generation = new_id()
            stamped = [
                {
                    "_id": f"{document['_id']}@{generation}",
                    **{key: value for key, value in document.items() if key != "_id"},
                    "partition": partition,
                    "generation": generation,
                }
                for document in documents
            ]
            for start in range(0, len(stamped), _INSERT_AT_ONCE):
                rows.insert_many(stamped[start : start + _INSERT_AT_ONCE], ordered=False)
            pointer = {
                "collection": name,
                "partition": partition,
                "generation": generation,
                "digest": digest,
                "documents": len(stamped),
                "replacedAt": at,
            }
            if not _move(pointers, pointer_id, pointer, first=present is None):
                # Somebody who began later has replaced it already.
                rows.delete_many({"partition": partition, "generation": generation})
                return False
            rows.delete_many({"partition": partition, "generation": {"$lt": generation}})
        return True

    def replace_document(self, name: str, partition: str, document: Document) -> bool:
        """Put one document in its predecessor's place; False where the partition was never written."""
        pointers = self._collection(PARTITIONS)
        pointer_id = f"{name}:{partition}"
        for _ in range(_TRIES):
            generation = self.generations(name, [partition]).get(partition)
            if generation is None:
                return False
            identity = f"{document['_id']}@{generation}"
            stamped = {
                **document,
                "_id": identity,
                "partition": partition,
                "generation": generation,
            }
            with mongo_errors():
                self._collection(name).replace_one({"_id": identity}, stamped, upsert=True)
                # The partition's digest is no longer that of what it holds.
                mine = {"_id": pointer_id, "generation": generation}
                if pointers.update_one(mine, {"$set": {"digest": None}}).matched_count:
                    return True
        return False

    def generations(self, name: str, partitions: Sequence[str]) -> dict[str, str]:
        """Return the present generation of those partitions that were ever written."""
        ids = [f"{name}:{partition}" for partition in partitions]
        with mongo_errors():
            found = self._collection(PARTITIONS).find(
                {"_id": {"$in": ids}}, {"partition": 1, "generation": 1}
            )
            return {str(one["partition"]): str(one["generation"]) for one in found}

    def _moved_on(self, name: str, partitions: Sequence[str], known: Iterable[str]) -> bool:
        """Whether one of these partitions has another generation than those that are known."""
        ids = [f"{name}:{partition}" for partition in partitions]
        newer = {"_id": {"$in": ids}, "generation": {"$nin": list(known)}}
        with mongo_errors():
            return self._collection(PARTITIONS).find_one(newer, {"_id": 1}) is not None

    def partitions(self, name: str) -> list[str]:
        """Return the partitions of a rollup that were ever written."""
        with mongo_errors():
            found = self._collection(PARTITIONS).find({"collection": name}, {"partition": 1})
            return sorted(str(one["partition"]) for one in found)

    def rows(
        self,
        name: str,
        partitions: Sequence[str],
        query: Mapping[str, Any],
        fields: Sequence[str] = (),
    ) -> list[Document]:
        """Return the documents of whole partitions that match, as of one moment for each."""

        def find(generations: Mapping[str, str]) -> list[Document]:
            current = {**query, "generation": {"$in": list(generations.values())}}
            return list(self._collection(name).find(current, dict.fromkeys(fields, 1) or None))

        return self._as_of(name, partitions, find)

    def documents(
        self, name: str, partitions: Sequence[str], identities: Sequence[str]
    ) -> list[Document]:
        """Return those documents of whole partitions by their ids in them: the quickest question."""
        return self.pick(name, dict.fromkeys(partitions, identities))

    def pick(self, name: str, wanted: Mapping[str, Sequence[str]]) -> list[Document]:
        """Return, by partition, the documents of these ids in it, as of one moment for each."""

        def find(generations: Mapping[str, str]) -> list[Document]:
            ids = [
                f"{identity}@{generation}"
                for partition, generation in generations.items()
                for identity in wanted[partition]
            ]
            return [
                document
                for start in range(0, len(ids), _IDS_AT_ONCE)
                for document in self._collection(name).find(
                    {"_id": {"$in": ids[start : start + _IDS_AT_ONCE]}}
                )
            ]

        return self._as_of(name, list(wanted), find)

    def _as_of(
        self,
        name: str,
        partitions: Sequence[str],
        find: Callable[[Mapping[str, str]], list[Document]],
    ) -> list[Document]:
        for _ in range(_TRIES):
            before = self.generations(name, partitions)
            if not before:
                return []
            with mongo_errors():
                found = find(before)
            # A partition that was replaced meanwhile may have lost its old rows before they were read.
            if not self._moved_on(name, partitions, before.values()):
                return found
        raise DependencyDownError("mongodb", "the rollups change faster than they can be read")


def _move(
    pointers: Collection[Document], pointer_id: str, pointer: Document, *, first: bool
) -> bool:
    """Move a partition's pointer forward, never back; False where a younger one stands."""
    if first:
        try:
            pointers.insert_one({"_id": pointer_id, **pointer})
        except DuplicateKeyError:
            pass
        else:
            return True
    older = {"_id": pointer_id, "generation": {"$lt": pointer["generation"]}}
    return bool(pointers.update_one(older, {"$set": pointer}).matched_count)


def _publication(document: Mapping[str, Any]) -> str:
    # The embedded server answers a projected path as one dotted name.
    dotted = document.get("metadata.publicationId")
    return str(dotted or document.get("metadata", {}).get("publicationId", ""))


def _digest(documents: Sequence[Document]) -> str:
    lines = sorted(json.dumps(one, default=json_util.default, sort_keys=True) for one in documents)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
