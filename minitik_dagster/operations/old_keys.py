"""The old queues' keys: deleted only when told, and only when nothing in them waits to be taken over."""

import json
from collections.abc import Mapping

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.errors import ConfigurationError, StateConflictError
from minitik_dagster.ids import new_id
from minitik_dagster.publishing.pause_queries import AUDIT
from minitik_dagster.resilience.old_queue_changes import count_old_keys, forget_old_keys
from minitik_dagster.scheduling import adopt_queries
from minitik_dagster.scheduling.adopt_queue import tie


def forgettable(engine: Engine, redis_url: str | None) -> Mapping[str, int]:
    """Count the old keys, by queue.

    Raises ConfigurationError without REDIS_URL, DependencyDownError when Redis does not answer, and
    StateConflictError while the database is not adopted, or an open job is still in the old queue.
    """
    if redis_url is None:
        raise ConfigurationError(["REDIS_URL is not set: the old queues' keys lie there"])
    with Session(engine) as session:
        adopted = session.execute(text(adopt_queries.MARKED)).scalar_one_or_none()
        ties = tie(session, redis_url)
    if adopted is None:
        raise StateConflictError(
            "this database has not been adopted; first: minitik adopt --yes", state="open"
        )
    if ties.jobs or ties.resumed:
        raise StateConflictError(
            "open jobs are still in the old queue; first: minitik adopt --yes", state="open"
        )
    if ties.queue.in_hand:
        raise StateConflictError(
            "a worker of the old system is at work; stop the workers first", state="active"
        )
    return {name: count for name, count in count_old_keys(redis_url).items() if count}


def forget(engine: Engine, redis_url: str | None, *, actor: str = "cli") -> Mapping[str, int]:
    """Delete them, but for the mark that keeps `publish` paused; audited. Errors as `forgettable`."""
    counts = forgettable(engine, redis_url)
    assert redis_url is not None
    gone = forget_old_keys(redis_url)
    with engine.begin() as connection:
        connection.execute(
            text(AUDIT),
            {
                "row_id": new_id(),
                "actor": actor,
                "action": "adopt.forget",
                "subject": "old queues",
                "detail": json.dumps({"keys": gone}),
            },
        )
    return counts
