"""Are the servers there? PostgreSQL decides, the others only degrade: what their loss means is told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pymongo
import redis
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError
from sqlalchemy import Engine

from minitik_dagster.api.state import ApiState
from minitik_dagster.db.migrate import require_schema
from minitik_dagster.errors import ConfigurationError, DependencyDownError
from minitik_dagster.operations import publishable
from minitik_dagster.settings import Settings

_SECONDS: Final = 1.0
_LOSS: Final = {
    "dispatcher": "nothing is sent: posts wait, and are late, until one is alive",
    "dagster": "no new runs: tokens, analytics and checks wait; a resident dispatcher publishes",
    "redis": "all calls are allowed: breakers and limits count per process only",
    "mongodb": "analytics are unavailable; publishing is not affected",
    "s3": "uploads and preparations wait; what is prepared still goes out",
}


@dataclass(frozen=True)
class Check:
    """One server's answer; `loss` says what its absence means while it does not answer."""

    name: str
    ok: bool
    detail: str
    loss: str | None = None


def require_database(engine: Engine) -> None:
    """Ask PostgreSQL; OperationalError when it does not answer, SchemaVersionError at another schema."""
    with engine.connect() as connection:
        require_schema(connection)


def check_engine(engine: publishable.Engine) -> list[Check]:
    """Say whether somebody publishes, and whether Dagster, where it has been seen, still looks."""
    alive = f"{engine.dispatchers} alive" if engine.dispatchers else "none is alive now"
    checks = [
        Check("dispatcher", ok=True, detail=alive)
        if engine.takes_posts
        else Check("dispatcher", ok=False, detail=alive, loss=_LOSS["dispatcher"])
    ]
    if engine.sensor_age is not None:
        detail = f"its sensor looked {engine.sensor_age.total_seconds():.0f} s ago"
        silent = engine.dagster_is_silent
        loss = _LOSS["dagster"] if silent else None
        checks.append(Check("dagster", ok=not silent, detail=detail, loss=loss))
    return checks


def check_others(state: ApiState) -> list[Check]:
    """Ask Redis, MongoDB and S3, each for a second or so."""
    asked: dict[str, Callable[[], None]] = {
        "redis": lambda: _ask_redis(state.settings),
        "mongodb": lambda: _ask_mongodb(state.settings),
        "s3": lambda: _ask_s3(state),
    }
    checks = []
    for name, ask in asked.items():
        try:
            ask()
        except (ConfigurationError, DependencyDownError) as error:
            checks.append(Check(name, ok=False, detail=str(error), loss=_LOSS[name]))
        except (RedisError, PyMongoError, ValueError) as error:
            # Only the kind: an error's text may hold the server's URL and so its password.
            detail = f"does not answer ({type(error).__name__})"
            checks.append(Check(name, ok=False, detail=detail, loss=_LOSS[name]))
        else:
            checks.append(Check(name, ok=True, detail="answers"))
    return checks


def _ask_redis(settings: Settings) -> None:
    if settings.redis_url is None:
        raise ConfigurationError(["REDIS_URL is not set"])
    client = redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=_SECONDS,
        socket_connect_timeout=_SECONDS,
    )
    try:
        client.ping()
    finally:
        client.close()


def _ask_mongodb(settings: Settings) -> None:
    if settings.mongodb_uri is None:
        raise ConfigurationError(["MONGODB_URI is not set"])
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
        settings.mongodb_uri.get_secret_value(),
        serverSelectionTimeoutMS=int(_SECONDS * 1000),
        connectTimeoutMS=int(_SECONDS * 1000),
    )
    try:
        client.admin.command("ping")
    finally:
        client.close()


def _ask_s3(state: ApiState) -> None:
    state.asked_store.check()
