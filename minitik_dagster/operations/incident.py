"""The snapshot of an incident: every fact the runbook asks for, at one instant, without a secret.

A part that cannot be asked is told as such; nothing of the snapshot hangs on another part of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from minitik_dagster import __version__
from minitik_dagster.clock import iso_z
from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.migrate import current, head_revision, pending
from minitik_dagster.errors import MinitikError
from minitik_dagster.logs import redact_text
from minitik_dagster.operations import incident_queries as queries
from minitik_dagster.operations.figures import collect
from minitik_dagster.operations.findings import Finding
from minitik_dagster.operations.prometheus import RedisFigures
from minitik_dagster.operations.severity import Step, playbook, propose
from minitik_dagster.scheduling.counts import queue_metrics
from minitik_dagster.settings import Settings

Facts = dict[str, Any]
_FROM_DATABASE: Final[Mapping[str, str]] = {
    "alerts": queries.ALERTS,
    "posts": queries.POSTS,
    "accounts": queries.ACCOUNTS,
    "longQueries": queries.LONG_QUERIES,
    "dispatchers": queries.DISPATCHERS,
    "acts": queries.ACTS,
}


def snapshot(
    settings: Settings | None,
    findings: Sequence[Finding],
    further: Mapping[str, Callable[[], Any]] | None = None,
) -> Facts:
    """Gather the facts around a doctor's findings; `further` parts are asked after ours."""
    facts: Facts = {"takenAt": datetime.now(UTC), "program": __version__, "couldNotAsk": []}
    facts["schema"] = _schema(settings)
    _of_database(settings, facts)
    redis = RedisFigures.read(settings) if settings is not None else None
    facts["breakers"] = [asdict(item) for item in redis.breakers] if redis else None
    facts["limits"] = (
        [asdict(item) for item in redis.limits if item.used] if redis is not None else None
    )
    if redis is None:
        facts["couldNotAsk"].append("redis")
    for name, ask in (further or {}).items():
        try:
            facts[name] = ask()
        except Exception as error:
            # Whatever Dagster's storage says: the snapshot must be made without it.
            facts[name] = None
            facts["couldNotAsk"].append(f"{name} ({type(error).__name__})")
    facts["checks"] = [asdict(item) for item in findings if item.level != "green"]
    severity = propose(findings, facts.get("alerts") or ())
    opened = [
        f"{item['platform']} {item['state']}"
        for item in facts["breakers"] or ()
        if item["state"] != "CLOSED"
    ]
    facts["severity"] = asdict(severity)
    steps: list[Step] = playbook(severity.level, findings, opened)
    facts["playbook"] = [asdict(step) for step in steps]
    plain: Facts = _plain(facts)
    return plain


def _schema(settings: Settings | None) -> Facts:
    wanted = {"program": head_revision(), "database": None, "pending": None}
    if settings is None or settings.database_url is None:
        return wanted
    url = settings.direct_url or settings.database_url
    try:
        return {
            **wanted,
            "database": current(url.get_secret_value()),
            "pending": pending(url.get_secret_value()),
        }
    except (DBAPIError, MinitikError):
        return wanted


def _of_database(settings: Settings | None, facts: Facts) -> None:
    names = ("since", "queues", "figures", *_FROM_DATABASE)
    facts.update(dict.fromkeys(names))
    if settings is None or settings.database_url is None:
        facts["couldNotAsk"].append("postgresql")
        return
    engine = make_engine(settings.require_database_url(), pool_size=1, max_overflow=1)
    asks: dict[str, Callable[[Connection], Any]] = {
        "since": lambda one: one.execute(text(queries.SINCE)).scalar_one(),
        "queues": _queues,
        "figures": lambda one: asdict(collect(one)),
        **{name: _rows(sql) for name, sql in _FROM_DATABASE.items()},
    }
    try:
        for name, ask in asks.items():
            try:
                with engine.begin() as connection:
                    facts[name] = ask(connection)
            except DBAPIError as error:
                facts["couldNotAsk"].append(f"postgresql: {name} ({type(error.orig).__name__})")
    finally:
        engine.dispose()


def _rows(sql: str) -> Callable[[Connection], list[Facts]]:
    return lambda one: [dict(row) for row in one.execute(text(sql)).mappings()]


def _queues(connection: Connection) -> Facts:
    with Session(connection) as session:
        found = queue_metrics(session)
    return {
        "queues": [asdict(queue) for queue in found.queues],
        "totals": asdict(found.totals),
        "collected_at": found.collected_at,
    }


def _plain(value: Any) -> Any:
    """Return the value for JSON: instants as text, every text redacted."""
    if isinstance(value, datetime):
        return iso_z(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value
