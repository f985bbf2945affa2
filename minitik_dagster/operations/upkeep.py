"""Clearing away what has ended: expired rows, dispatchers long dead, media of deleted contents.

Safe at any time and to repeat. History is kept: publications, their ledger, dead letters, alerts of
the last year, the audit log.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.attempts import forget_attempts
from minitik_dagster.accounts.sessions import forget_sessions
from minitik_dagster.accounts.sign_in import forget_links
from minitik_dagster.analytics.export_orders import expire, remove_files
from minitik_dagster.errors import DependencyDownError
from minitik_dagster.media.listing import Listed, list_objects
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.operations import upkeep_queries as queries
from minitik_dagster.publishing.inbound_events import forget_old

# Longer than any dispute about a deleted content takes, and than a mistake takes to be found.
MEDIA_KEPT: Final = timedelta(days=7)
_KEYS_AT_ONCE: Final = 500


@dataclass
class Cleared:
    """What was removed, by kind; `media` and `exports` are objects, `unknown_media` were left."""

    rows: Counter[str] = field(default_factory=Counter)
    media: int = 0
    media_bytes: int = 0
    exports: int = 0
    export_bytes: int = 0
    unknown_media: int = 0
    notes: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return it as a Markdown table."""
        lines = ["| what | removed |", "|---|---|"]
        lines += [f"| {name} | {count} |" for name, count in sorted(self.rows.items())]
        lines.append(f"| media of deleted contents | {self.media} ({self.media_bytes} bytes) |")
        lines.append(f"| files of expired exports | {self.exports} ({self.export_bytes} bytes) |")
        lines += [f"\n{note}" for note in self.notes]
        return "\n".join(lines)


def clear_rows(engine: Engine, cleared: Cleared) -> None:
    """Delete what has expired, each kind in its own transaction."""
    for name, sql in queries.EXPIRED.items():
        with engine.begin() as connection:
            cleared.rows[name] += len(connection.execute(text(sql)).all())
    forgetting = {
        "sign-in links": forget_links,
        "sessions": forget_sessions,
        "counted attempts": forget_attempts,
        # They hold the platforms' ids of people, and are of no use after a week.
        "platforms' events": forget_old,
    }
    for name, forget in forgetting.items():
        with Session(engine) as session, session.begin():
            cleared.rows[name] += forget(session)
    with engine.begin() as connection:
        cleared.rows["exports (expired)"] += expire(connection)


def clear_media(
    engine: Engine, store: ObjectStore, cleared: Cleared, *, now: datetime | None = None
) -> None:
    """Delete the objects of contents that were deleted a week ago, and the files of expired exports.

    What nobody knows is counted. A bucket that cannot be listed is a note, no failure.
    """
    now = now or datetime.now(UTC)
    before = now - MEDIA_KEPT
    try:
        for prefix in ("content/", "thumbnails/"):
            listed = (item for item in list_objects(store, prefix) if item.modified_at < before)
            for part in _parts(listed):
                _judge(engine, store, part, cleared)
        for item in list_objects(store, "doctor/"):
            if item.modified_at < now - timedelta(days=1):
                store.delete(item.key)
        cleared.exports, cleared.export_bytes = remove_files(store, now)
    except DependencyDownError as error:
        cleared.notes.append(f"Media were not looked at to the end: {error}")
    if cleared.unknown_media:
        cleared.notes.append(
            f"{cleared.unknown_media} objects belong to no content that this database knows; they stay."
        )


def _judge(engine: Engine, store: ObjectStore, part: Sequence[Listed], cleared: Cleared) -> None:
    values: dict[str, Any] = {
        "keys": [item.key for item in part],
        # content/{userId}/{contentId}/{filename}
        "contents": [(item.key.split("/") + [""] * 3)[2] for item in part],
        "kept": MEDIA_KEPT,
    }
    with engine.connect() as connection:
        found = {row.key: row for row in connection.execute(text(queries.JUDGE), values)}
    for item in part:
        row = found[item.key]
        if not row.known:
            cleared.unknown_media += 1
        elif row.orphaned:
            store.delete(item.key)
            cleared.media += 1
            cleared.media_bytes += item.size


def _parts(listed: Iterator[Listed]) -> Iterator[list[Listed]]:
    while part := list(islice(listed, _KEYS_AT_ONCE)):
        yield part
