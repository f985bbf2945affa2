"""Writes down, as files to be searched, what a stack keeps elsewhere: databases, Redis, MongoDB, processes."""

import json
import zlib
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
import pymongo
import redis
from bson import json_util
from sqlalchemy import create_engine, text

_TABLES = """
SELECT table_schema AS schema, table_name AS name FROM information_schema.tables
WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2
"""


def put(folder: Path, name: str, data: bytes) -> Path:
    """Write one piece of evidence."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / quote(name, safe=" =,.")[:200]
    path.write_bytes(data)
    return path


def write_database(folder: Path, url: str) -> dict[str, int]:
    """Every column of every row of every table of ours, one file a table; return the rows by table.

    Binary columns as they are, and unpacked where zlib made them (Dagster's snapshots).
    """
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
    counts = {}
    try:
        with engine.connect() as connection:
            for schema, name in connection.execute(text(_TABLES)).all():
                rows = connection.execute(text(f'SELECT * FROM "{schema}"."{name}"')).all()  # noqa: S608
                counts[name] = len(rows)
                lines = (b"\t".join(_as_bytes(value) for value in row) for row in rows)
                put(folder, f"{schema}.{name}", b"\n".join(lines))
    finally:
        engine.dispose()
    return counts


def write_redis(folder: Path, url: str) -> int:
    """Every key with its value, whatever its type, of every database; return how many."""
    lines: list[bytes] = []
    with redis.Redis.from_url(url) as client:
        count = int(client.config_get("databases")["databases"])
    for number in range(count):
        with redis.Redis.from_url(database_of(url, number)) as client:
            keys = client.scan_iter(count=1000)
            lines.extend(key + b"\t" + _redis_value(client, key) for key in keys)
    put(folder, "redis", b"\n".join(lines))
    return len(lines)


def database_of(url: str, number: int) -> str:
    """The URL of another database of the same server."""
    return urlsplit(url)._replace(path=f"/{number}").geturl()


def _redis_value(client: Any, key: bytes) -> bytes:
    match client.type(key):
        case b"string":
            found = [client.get(key)]
        case b"list":
            found = client.lrange(key, 0, -1)
        case b"set":
            found = client.smembers(key)
        case b"zset":
            found = client.zrange(key, 0, -1)
        case b"hash":
            found = [part for pair in client.hgetall(key).items() for part in pair]
        case b"stream":
            fields = [entry for _, entry in client.xrange(key)]
            found = [part for entry in fields for pair in entry.items() for part in pair]
        case b"none":  # it has just expired
            found = []
        case kind:
            raise AssertionError(f"a type that is not searched: {kind!r}")
    return b"\t".join(part or b"" for part in found)


def write_mongo(folder: Path, uri: str) -> int:
    """Every document of every database that is not MongoDB's own; return how many."""
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(uri)
    count = 0
    try:
        for database in client.list_database_names():
            if database in {"admin", "config", "local"}:
                continue
            for collection in client[database].list_collection_names():
                lines = [
                    json_util.dumps(item).encode() for item in client[database][collection].find()
                ]
                count += len(lines)
                put(folder, f"{database}.{collection}", b"\n".join(lines))
    finally:
        client.close()
    return count


def write_processes(folder: Path, processes: list[psutil.Process]) -> int:
    """The command lines, which anybody on the machine may list; return how many."""
    lines = []
    for process in processes:
        try:
            lines.append("\t".join(process.cmdline()).encode())
        except psutil.NoSuchProcess:
            continue
    put(folder, "command lines", b"\n".join(lines))
    return len(lines)


def _as_bytes(value: Any) -> bytes:
    if value is None:
        return b""
    if isinstance(value, memoryview):
        value = bytes(value)
    if isinstance(value, bytes):
        try:
            return value + b"\t" + zlib.decompress(value)
        except zlib.error:
            return value
    if isinstance(value, str):
        return value.encode()
    return json.dumps(value, default=str, ensure_ascii=False).encode()
