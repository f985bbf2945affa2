"""The sandbox's state: one SQLite file, so that a restart forgets nothing that was accepted."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (
  platform TEXT NOT NULL, id TEXT NOT NULL, username TEXT NOT NULL, app_scoped_id TEXT NOT NULL,
  private INTEGER NOT NULL, created_at INTEGER NOT NULL, scopes TEXT NOT NULL,
  PRIMARY KEY (platform, id));
CREATE TABLE IF NOT EXISTS tokens (
  digest TEXT PRIMARY KEY, platform TEXT NOT NULL, account TEXT NOT NULL, kind TEXT NOT NULL,
  scopes TEXT NOT NULL, issued_at INTEGER NOT NULL, expires_at INTEGER, revoked_at INTEGER,
  extra TEXT NOT NULL DEFAULT '{}');
CREATE INDEX IF NOT EXISTS tokens_by_account ON tokens (platform, account);
CREATE TABLE IF NOT EXISTS posts (
  platform TEXT NOT NULL, id TEXT NOT NULL, handle TEXT NOT NULL, account TEXT NOT NULL,
  caption TEXT NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, published_at INTEGER,
  available_at INTEGER NOT NULL, privacy TEXT NOT NULL, public INTEGER NOT NULL,
  removed_at INTEGER, shortcode TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (platform, id), UNIQUE (platform, handle));
CREATE INDEX IF NOT EXISTS posts_by_account ON posts (platform, account, published_at);
CREATE TABLE IF NOT EXISTS post_options (
  platform TEXT NOT NULL, handle TEXT NOT NULL, options TEXT NOT NULL,
  PRIMARY KEY (platform, handle));
CREATE TABLE IF NOT EXISTS counters (
  platform TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (platform, id));
CREATE TABLE IF NOT EXISTS tiktok_posts (
  publish_id TEXT PRIMARY KEY, account TEXT NOT NULL, upload_token TEXT UNIQUE,
  caption TEXT NOT NULL, privacy TEXT NOT NULL, source TEXT NOT NULL, video_url TEXT,
  size INTEGER NOT NULL, chunk_size INTEGER NOT NULL, chunk_count INTEGER NOT NULL,
  uploaded INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
  completed_at INTEGER, processing_ms INTEGER NOT NULL, fail_reason TEXT, post_id TEXT,
  cancelled_at INTEGER);
CREATE TABLE IF NOT EXISTS tiktok_progress (
  publish_id TEXT NOT NULL, at INTEGER NOT NULL, uploaded INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS tiktok_progress_by_post ON tiktok_progress (publish_id, at);
CREATE TABLE IF NOT EXISTS instagram_containers (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, video_url TEXT NOT NULL, caption TEXT NOT NULL,
  created_at INTEGER NOT NULL, processing_ms INTEGER NOT NULL, fetched_at INTEGER,
  bytes INTEGER, sha256 TEXT, error TEXT, published_at INTEGER, media_id TEXT, fail_code TEXT);
CREATE INDEX IF NOT EXISTS containers_by_account ON instagram_containers (account, created_at);
CREATE TABLE IF NOT EXISTS youtube_sessions (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, snippet TEXT NOT NULL, status TEXT NOT NULL,
  parts TEXT NOT NULL, length INTEGER, content_type TEXT NOT NULL,
  received INTEGER NOT NULL DEFAULT 0, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
  processing_ms INTEGER NOT NULL, fail_code TEXT, video_id TEXT);
CREATE TABLE IF NOT EXISTS youtube_videos (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, snippet TEXT NOT NULL, status TEXT NOT NULL,
  earlier_status TEXT NOT NULL, status_changed_at INTEGER NOT NULL, publish_at INTEGER,
  bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, created_at INTEGER NOT NULL,
  processing_ms INTEGER NOT NULL, fail_code TEXT, first_public_at INTEGER, deleted_at INTEGER,
  thumbnail_bytes INTEGER);
CREATE INDEX IF NOT EXISTS videos_by_account ON youtube_videos (account, created_at);
CREATE INDEX IF NOT EXISTS videos_by_publish_at ON youtube_videos (publish_at)
  WHERE publish_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS quota (
  bucket TEXT NOT NULL, day TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (bucket, day));
"""

Row = sqlite3.Row


class Store:
    """SQLite in WAL mode, without synchronous writes: fast, and safe against the process's end."""

    def __init__(self, path: Path | str) -> None:
        if str(path) != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            # The file holds digests of tokens and the platforms' upload keys: the owner's alone.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None, cached_statements=512)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.executescript(_SCHEMA)

    def one(self, sql: str, *values: Any) -> Row | None:
        """Return the first row, or None."""
        row: Row | None = self._db.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: Any) -> list[Row]:
        """Return every row."""
        return self._db.execute(sql, values).fetchall()

    def number(self, sql: str, *values: Any) -> int:
        """Return the single whole number a query yields; 0 for NULL or no row."""
        row = self._db.execute(sql, values).fetchone()
        return int(row[0] or 0) if row else 0

    def run(self, sql: str, *values: Any) -> int:
        """Execute one statement; returns the number of rows it changed."""
        return self._db.execute(sql, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the statements inside one change: all of them or none."""
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def read_setting(self, name: str) -> Any:
        """Return a stored JSON setting, or None."""
        row = self.one("SELECT value FROM settings WHERE name = ?", name)
        return json.loads(row["value"]) if row else None

    def write_setting(self, name: str, value: Any) -> None:
        """Store a JSON setting."""
        self.run(
            "INSERT INTO settings (name, value) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            name,
            json.dumps(value),
        )

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._db.close()
