"""What an old deployment holds, store by store, and what becomes of it: taken over, left, or missing.

Looks only. What cannot be asked is an item of its own: the report says so and goes on. The queue itself is
`scheduling.adopt`'s.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import pymongo
from pymongo.errors import PyMongoError
from sqlalchemy import Connection, text

from minitik_dagster.accounts.vault import Vault, VaultError
from minitik_dagster.analytics import names
from minitik_dagster.errors import ConfigurationError, DependencyDownError, MinitikError
from minitik_dagster.media.listing import list_objects
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.operations import adoption_survey_queries as queries
from minitik_dagster.resilience.connections import operator_client
from minitik_dagster.resilience.old_queue import OLD_QUEUES
from minitik_dagster.resilience.old_queue_changes import count_old_keys
from minitik_dagster.settings import Settings

_MONGO_MS: Final = 3_000
_SHARED_KEYS: Final = ("circuit_breaker", "rate_limit")
_OURS_IN_MONGO: Final = frozenset(
    {
        names.DAILY,
        names.CONTENT_PERFORMANCE,
        names.ACCOUNT_PERFORMANCE,
        names.YOUTUBE_DAILY,
        names.PARTITIONS,
    }
)
# A page of a large bucket takes its time; one that says nothing is told, not waited for.
_STORE_SECONDS: Final = 10.0
_PREFIXES: Final = ("content/", "thumbnails/", "exports/")


class Fate(StrEnum):
    """What becomes of what was found."""

    TAKEN = "taken over"
    LEFT = "left"
    MISSING = "missing"
    UNKNOWN = "not looked at"


@dataclass(frozen=True)
class Item:
    """One thing in one store: how many, what becomes of it, and why."""

    store: str
    what: str
    count: int
    fate: Fate
    why: str = ""


def survey(connection: Connection, settings: Settings) -> list[Item]:
    """Look at every store that the environment names."""
    found = list(_postgresql(connection, settings))
    looks: dict[str, Callable[[], Iterator[Item]]] = {
        "redis": lambda: _redis(settings),
        "mongodb": lambda: _mongodb(settings),
        "s3": lambda: _s3(connection, settings),
    }
    for store, look in looks.items():
        try:
            found.extend(look())
        except MinitikError as error:
            found.append(Item(store, "everything", 0, Fate.UNKNOWN, str(error)))
    return found


def _postgresql(connection: Connection, settings: Settings) -> Iterator[Item]:
    def count(sql: str) -> int:
        return int(connection.execute(text(sql)).scalar_one())

    store = "postgresql"
    yield Item(
        store, "users", count(queries.USERS), Fate.TAKEN, "sign in by a link to their address"
    )
    connected, others = connection.execute(text(queries.ACCOUNTS)).one()
    yield Item(store, "connected accounts", connected, Fate.TAKEN, "with their tokens")
    if others:
        why = "their owners connect them again; their posts are held"
        yield Item(store, "accounts that are not connected", others, Fate.TAKEN, why)
    yield from _tokens(connection, settings)
    yield Item(store, "contents", count(queries.CONTENTS), Fate.TAKEN)
    yield Item(store, "publications", count(queries.PUBLICATIONS), Fate.TAKEN, "as they stand")
    yield Item(store, "ended jobs", count(queries.ENDED_JOBS), Fate.LEFT, "history, not written")
    old = count(queries.OLD_SESSIONS)
    if old:
        yield Item(store, "sessions", old, Fate.LEFT, "in plain text: people sign in again")
    if subscriptions := count(queries.SUBSCRIPTIONS):
        why = "as long as VAPID_PUBLIC_KEY stays the old system's"
        yield Item(store, "web push subscriptions", subscriptions, Fate.TAKEN, why)
    known = connection.dialect.identifier_preparer
    for table in connection.execute(text(queries.OTHER_TABLES), {"known": queries.known_tables()}):
        rows = connection.execute(text(f"SELECT count(*) FROM {known.quote(table.name)}"))  # noqa: S608
        why = "not a table of ours or of the old schema"
        yield Item(store, f"rows of table {table.name}", rows.scalar_one(), Fate.LEFT, why)


def _tokens(connection: Connection, settings: Settings) -> Iterator[Item]:
    try:
        vault = Vault.from_settings(settings)
    except ConfigurationError as error:
        yield Item("postgresql", "tokens", 0, Fate.UNKNOWN, str(error))
        return
    closed = 0
    for sealed in connection.execute(text(queries.TOKENS)).scalars():
        try:
            vault.open(sealed)
        except VaultError:
            closed += 1
    if closed:
        why = "do not open: put the old system's key into ENCRYPTION_KEY or ENCRYPTION_KEY_PREVIOUS"
        yield Item("postgresql", "access tokens", closed, Fate.MISSING, why)


def _redis(settings: Settings) -> Iterator[Item]:
    if settings.redis_url is None:
        yield Item("redis", "everything", 0, Fate.UNKNOWN, "REDIS_URL is not set")
        return
    url = settings.redis_url.get_secret_value()
    for name, count in count_old_keys(url).items():
        if count:
            why = "until: minitik adopt --forget-old-keys --yes"
            yield Item("redis", f"keys of the queue {name}", count, Fate.LEFT, why)
    others: Counter[str] = Counter()
    with operator_client(url) as client:
        for key in client.scan_iter(count=1_000):
            kind, _, rest = key.partition(":")
            if kind == "bull" and rest.partition(":")[0] in OLD_QUEUES:
                continue
            others[kind if kind in (*_SHARED_KEYS, "bull") else "other"] += 1
    for kind, count in sorted(others.items()):
        if kind in _SHARED_KEYS:
            yield Item(
                "redis", f"keys {kind}:*", count, Fate.TAKEN, "the same keys, the same meaning"
            )
        else:
            what = "keys of other queues" if kind == "bull" else "other keys"
            yield Item("redis", what, count, Fate.LEFT, "not ours and not the old queues'")


def _mongodb(settings: Settings) -> Iterator[Item]:
    if settings.mongodb_uri is None:
        yield Item("mongodb", "everything", 0, Fate.UNKNOWN, "MONGODB_URI is not set")
        return
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
        settings.mongodb_uri.get_secret_value(),
        serverSelectionTimeoutMS=_MONGO_MS,
        connectTimeoutMS=_MONGO_MS,
    )
    try:
        database = client[settings.mongodb_db]
        for name in sorted(database.list_collection_names()):
            if name.startswith("system.") or name in _OURS_IN_MONGO:
                continue
            documents = database[name]
            if name != names.READINGS:
                count = documents.estimated_document_count()
                yield Item("mongodb", f"documents of {name}", count, Fate.LEFT, "not read")
                continue
            series = {"metadata.publicationId": {"$exists": True}}
            read, every = documents.count_documents(series), documents.count_documents({})
            if read:
                why = "read as they are: analytics go on from them"
                yield Item("mongodb", "readings", read, Fate.TAKEN, why)
            if every > read:
                why = "without metadata.publicationId: no post they belong to is known; not read"
                yield Item("mongodb", "readings of no publication", every - read, Fate.LEFT, why)
    except PyMongoError as error:
        problem = f"MongoDB does not answer ({type(error).__name__})"
        raise DependencyDownError("mongodb", problem) from None
    finally:
        client.close()


def _s3(connection: Connection, settings: Settings) -> Iterator[Item]:
    if not settings.aws_s3_bucket:
        yield Item("s3", "everything", 0, Fate.UNKNOWN, "AWS_S3_BUCKET is not set")
        return
    store = ObjectStore.from_settings(settings, patience=_STORE_SECONDS)
    there = {item.key: item.size for prefix in _PREFIXES for item in list_objects(store, prefix)}
    asked = {row.key: row for row in connection.execute(text(queries.MEDIA))}
    present = [key for key in asked if key in there]
    yield Item("s3", "media and thumbnails of contents", len(present), Fate.TAKEN, "where they lie")
    absent = [row for key, row in asked.items() if key not in there]
    if pending := sum(row.pending for row in absent):
        why = "their posts will fail: upload them again, or cancel the posts"
        yield Item("s3", "media of pending posts", pending, Fate.MISSING, why)
    if gone := len(absent) - pending:
        yield Item("s3", "media of other contents", gone, Fate.MISSING, "nothing waits for them")
    orphans = [size for key, size in there.items() if key not in asked]
    if orphans:
        why = f"no content names them ({sum(orphans)} bytes)"
        yield Item("s3", "objects", len(orphans), Fate.LEFT, why)
