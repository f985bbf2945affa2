"""Redis, MongoDB and S3: whether each answers now, and since when it has not.

They are asked before a transaction is opened, side by side and each for a few seconds at most: one that hangs
holds no row and delays no other. Since when is kept in `settings` (`away:<server>`), so that all processes
that look tell the same time, and a restart forgets none.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final

import pymongo
from pymongo.errors import PyMongoError
from sqlalchemy import Connection, text

from minitik_dagster.errors import ConfigurationError, DependencyDownError
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.publishing.queries import NOW
from minitik_dagster.resilience.connections import operator_client
from minitik_dagster.settings import Settings

SERVERS: Final = ("redis", "mongodb", "s3")
_SECONDS: Final = 1.0
# The servers' own patience is shorter, but that of a resolver of names may not be.
_ALL_SECONDS: Final = 6.0

# Nobody has asked for so long: what it was before says nothing of now.
_FORGOTTEN: Final = "interval '10 minutes'"
_AWAY: Final = text(
    f"""
    INSERT INTO settings (key, value, "updatedAt")
    VALUES ('away:' || :server, jsonb_build_object('since', {NOW}), {NOW})
    ON CONFLICT (key) DO UPDATE SET "updatedAt" = EXCLUDED."updatedAt",
        value = CASE WHEN settings."updatedAt" < {NOW} - {_FORGOTTEN} THEN EXCLUDED.value
            ELSE settings.value END
    """  # noqa: S608 - constants
)
_BACK: Final = text("DELETE FROM settings WHERE key = 'away:' || :server")
_SECONDS_AWAY: Final = text(
    f"""
    SELECT substr(key, 6) AS server,
        floor(extract(epoch FROM {NOW} - CAST(value ->> 'since' AS timestamp))) AS seconds
    FROM settings WHERE key LIKE 'away:%' AND "updatedAt" >= {NOW} - {_FORGOTTEN}
    """  # noqa: S608 - constants
)


@dataclass(frozen=True)
class Answer:
    """Whether a server answers; `detail` holds no address and no password."""

    server: str
    ok: bool
    detail: str
    configured: bool = True


def ask(settings: Settings, store: Callable[[], ObjectStore]) -> list[Answer]:
    """Ask all of them at once, for some seconds at most; `store` makes the bucket's client.

    One that is not configured does not answer, and says so.
    """
    questions: Mapping[str, Callable[[], None]] = {
        "redis": lambda: _ask_redis(settings),
        "mongodb": lambda: _ask_mongodb(settings),
        "s3": lambda: store().check(),
    }
    configured = {
        "redis": settings.redis_url is not None,
        "mongodb": settings.mongodb_uri is not None,
        "s3": bool(settings.aws_s3_bucket),
    }
    pool = ThreadPoolExecutor(len(questions), thread_name_prefix="asks")
    try:
        asked = {name: pool.submit(_answer, name, one) for name, one in questions.items()}
        wait(asked.values(), timeout=_ALL_SECONDS)
        late = f"does not answer within {_ALL_SECONDS:g} s"
        answers = [
            one.result() if one.done() else Answer(name, ok=False, detail=late)
            for name, one in asked.items()
        ]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return [
        Answer(one.server, one.ok, one.detail, configured=configured[one.server]) for one in answers
    ]


def note(connection: Connection, answers: Sequence[Answer]) -> None:
    """Keep since when each does not answer; one that answers anybody is back. Unconfigured: no word."""
    for answer in answers:
        if answer.configured:
            connection.execute(_BACK if answer.ok else _AWAY, {"server": answer.server})


def seconds_away(connection: Connection) -> dict[str, float]:
    """Return for each server how many seconds it has not answered whoever asked; 0 of one that does."""
    found = {row.server: float(row.seconds) for row in connection.execute(_SECONDS_AWAY)}
    return {server: found.get(server, 0.0) for server in SERVERS}


def _answer(server: str, question: Callable[[], None]) -> Answer:
    try:
        question()
    except (ConfigurationError, DependencyDownError) as error:
        return Answer(server, ok=False, detail=str(error))
    except (PyMongoError, ValueError) as error:
        # Only the kind: an error's text may hold the server's URL and so its password.
        return Answer(server, ok=False, detail=f"does not answer ({type(error).__name__})")
    return Answer(server, ok=True, detail="answers")


def _ask_redis(settings: Settings) -> None:
    if settings.redis_url is None:
        raise ConfigurationError(["REDIS_URL is not set"])
    with operator_client(settings.redis_url.get_secret_value()) as client:
        client.ping()


def _ask_mongodb(settings: Settings) -> None:
    if settings.mongodb_uri is None:
        raise ConfigurationError(["MONGODB_URI is not set"])
    milliseconds = int(_SECONDS * 1000)
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
        settings.mongodb_uri.get_secret_value(),
        serverSelectionTimeoutMS=milliseconds,
        connectTimeoutMS=milliseconds,
        socketTimeoutMS=milliseconds,
    )
    try:
        client.admin.command("ping")
    finally:
        client.close()
