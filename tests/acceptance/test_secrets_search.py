"""The search itself: what is planted in each place is found there, in each form, and nothing else is."""

import base64
import json
import secrets
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pymongo
import pytest
import redis
from sqlalchemy import Engine, create_engine, text

from minitik_dagster.accounts.vault import Vault

from . import secrets_places as places
from .secrets_search import Finding, Secret, search

# With what URLs, JSON and base64 write in other ways.
TOKEN = Secret("access token", 'act.Zk3!x9/aB+c=7"d\\e%é' + "0123456789abcdefghij" * 2)
KEY = Secret("ENCRYPTION_KEY", "0f" * 16 + "a3" * 16)


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    yield engine
    engine.dispose()


def found(folder: Path, *secrets_: Secret) -> list[Finding]:
    return search(secrets_ or (TOKEN, KEY), [folder])


@pytest.mark.parametrize(
    "written",
    [
        TOKEN.value,
        f"before{TOKEN.value}after",
        quote(TOKEN.value, safe=""),
        quote(quote(TOKEN.value, safe=""), safe=""),
        json.dumps({"a": TOKEN.value}),
        json.dumps({"a": TOKEN.value}, ensure_ascii=False),
        json.dumps({"a": json.dumps({"b": TOKEN.value})}),
        json.dumps(TOKEN.value).replace("/", "\\/"),
        TOKEN.value[:35],
        TOKEN.value[-25:],
        TOKEN.value.encode().hex(),
        *(base64.b64encode(("x" * n + TOKEN.value + "y" * n).encode()).decode() for n in range(4)),
        *(base64.urlsafe_b64encode(("x" * n + TOKEN.value).encode()).decode() for n in range(4)),
    ],
)
def test_a_secret_is_found_in_every_form(written: str, evidence: Path) -> None:
    """Plain, URL-encoded, JSON, base64 wherever it begins, hexadecimal, and a part of it."""
    places.put(evidence, "log", b"a line\n" + f"x {written} y\n".encode() + b"a line\n")
    assert {finding.kind for finding in found(evidence)} == {"access token"}
    assert found(evidence)[0].line().startswith(b"x ")


def test_a_key_is_found_as_its_bytes_too(evidence: Path) -> None:
    """Hexadecimal as it is configured, in capitals, and what it stands for, in base64 or not."""
    raw = bytes.fromhex(KEY.value)
    for number, data in enumerate((raw, base64.b64encode(raw), KEY.value.upper().encode())):
        places.put(evidence / str(number), "dump", b"\0\1" + data + b"\0")
        assert {finding.kind for finding in found(evidence / str(number))} == {"ENCRYPTION_KEY"}


def test_what_is_sealed_hashed_or_shown_by_its_beginning_is_no_leak(evidence: Path) -> None:
    """The vault's form, a digest, a key's first twelve characters; and a finding shows no secret."""
    sealed = Vault([secrets.token_bytes(32)]).seal(TOKEN.value)
    places.put(evidence, "row", f"{sealed} {TOKEN.value[:12]} [redacted]".encode())
    assert found(evidence) == []
    places.put(evidence, "row", TOKEN.value.encode())
    assert TOKEN.value[:16] not in f"{found(evidence)} {found(evidence)[0]} {TOKEN!r}"


def test_files_below_a_folder_are_searched_but_for_those_that_are_named(evidence: Path) -> None:
    """However deep, with spaces in their names; links are not followed."""
    for name in ("logs", "crash dump", "spool"):
        places.put(evidence / name / "a b", "file: 1", TOKEN.value.encode())
    (evidence / "link").symlink_to(evidence / "logs")
    hits = search([TOKEN], [evidence], without=[evidence / "spool"])
    assert {hit.path.relative_to(evidence).parts[0] for hit in hits} == {"logs", "crash dump"}


def test_a_file_that_cannot_be_read_fails_the_search(evidence: Path) -> None:
    """A scan that passes files over proves nothing."""
    with pytest.raises(OSError, match="missing"):
        search([TOKEN], [evidence / "missing"])


@pytest.mark.parametrize(
    "column", ["text", "json", "jsonb", "text[]", "bytea", "zlib", "name in json"]
)
def test_a_row_with_a_secret_is_found(
    column: str, engine: Engine, database_url: str, evidence: Path
) -> None:
    """Whatever the column's type, in whichever schema; Dagster packs its snapshots with zlib."""
    kind = {"zlib": "bytea", "name in json": "jsonb"}.get(column, column)
    values = {
        "text": TOKEN.value,
        "json": json.dumps({"a": [TOKEN.value]}),
        "jsonb": json.dumps({"a": {"b": TOKEN.value}}),
        "text[]": ["x", TOKEN.value],
        "bytea": b"\0" + TOKEN.value.encode(),
        "zlib": zlib.compress(f'{{"a": "{TOKEN.value}"}}'.encode()),
        "name in json": json.dumps({TOKEN.value: 1}),
    }
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA other"))
        connection.execute(text(f"CREATE TABLE other.event_logs (id int, event {kind})"))
    assert places.write_database(evidence, database_url)["event_logs"] == 0
    assert found(evidence) == []
    with engine.begin() as connection:
        connection.execute(
            text(f"INSERT INTO other.event_logs VALUES (1, CAST(:value AS {kind}))"),  # noqa: S608
            {"value": values[column]},
        )
    assert places.write_database(evidence, database_url)["event_logs"] == 1
    assert {hit.path.name for hit in found(evidence)} == {"other.event_logs"}


def test_every_table_of_ours_is_read(engine: Engine, database_url: str, evidence: Path) -> None:
    """A table of tomorrow is searched without a word here."""
    counts = places.write_database(evidence, database_url)
    assert {"accounts", "publications", "outbox", "sessions", "audit_log"} <= set(counts)


@pytest.mark.parametrize(
    "where", ["key", "string", "list", "set", "zset", "hash", "stream", "db 3"]
)
def test_a_secret_in_redis_is_found(where: str, redis_url: str, evidence: Path) -> None:
    """In a key's name and in a value of each type, in any of the databases."""
    client = redis.Redis.from_url(places.database_of(redis_url, 3 if where == "db 3" else 0))
    try:
        match where:
            case "key" | "db 3":
                client.set(f"minitik:limit:{TOKEN.value}", 1)
            case "string":
                client.set("k", TOKEN.value)
            case "list":
                client.rpush("k", TOKEN.value)
            case "set":
                client.sadd("k", TOKEN.value)
            case "zset":
                client.zadd("k", {TOKEN.value: 1.0})
            case "hash":
                client.hset("k", mapping={"f": TOKEN.value})
            case "stream":
                client.xadd("k", {"f": TOKEN.value})
        assert places.write_redis(evidence, redis_url) == 1
    finally:
        client.flushall()
        client.close()
    assert [hit.kind for hit in found(evidence)][:1] == ["access token"]


def test_a_secret_in_mongodb_is_found(mongodb_uri: str, evidence: Path) -> None:
    """In a document of any collection."""
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(mongodb_uri)
    try:
        client.get_default_database()["metrics"].insert_one({"a": {"b": [TOKEN.value]}})
    finally:
        client.close()
    assert places.write_mongo(evidence, mongodb_uri) >= 1
    assert found(evidence)


def test_a_secret_on_a_command_line_is_found(evidence: Path) -> None:
    """Anybody on the machine can list it."""
    program = "import sys; sys.stdin.read()"
    plain = Secret("API key", f"mtk_{secrets.token_urlsafe(32)}")
    with subprocess.Popen(
        [sys.executable, "-c", program, plain.value], stdin=subprocess.PIPE
    ) as process:
        assert places.write_processes(evidence, [psutil.Process(process.pid)]) == 1
        process.communicate()
    assert found(evidence, plain)
