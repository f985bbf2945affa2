"""`Idempotency-Key`: the same POST sent again creates nothing again and is answered the same.

The key is written in the transaction that creates, with the status and the created ids; the body is
built anew. A request that was refused created nothing and is simply judged again.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import database_now
from minitik_dagster.api.auth import CallerDep
from minitik_dagster.db.tables import IdempotencyKey
from minitik_dagster.errors import FieldProblem, RuleRefusedError, StateConflictError

LIFETIME: Final = timedelta(hours=24)
REPLAYED_HEADER: Final = "Idempotency-Replayed"


@dataclass(frozen=True)
class Once:
    """One request's key, if it sent one; scoped to the user and the operation."""

    user_id: str
    route: str
    key: str | None
    response: Response

    def known(self, engine: Engine) -> bool:
        """Whether this key was used before: then nothing need be asked for the request anew."""
        if self.key is None:
            return False
        with Session(engine) as session:
            return session.get(IdempotencyKey, (self.user_id, self.route, self.key)) is not None

    def replay(self, session: Session, body: BaseModel) -> Mapping[str, Any] | None:
        """Return the ids that this request created before; None the first time.

        Raises RuleRefusedError when the key was used with another body, StateConflictError while the
        first request is still running.
        """
        if self.key is None:
            return None
        # Held to the end of the transaction: the twin of a running request is told so, not kept waiting.
        lock = f"{self.user_id}\n{self.route}\n{self.key}"
        free = session.execute(
            text("SELECT pg_try_advisory_xact_lock(hashtextextended(:lock, 0))"), {"lock": lock}
        ).scalar_one()
        if not free:
            raise StateConflictError(
                "a request with this Idempotency-Key is still running", state="running"
            )
        kept = session.get(IdempotencyKey, (self.user_id, self.route, self.key))
        if kept is None:
            return None
        if kept.expires_at <= database_now(session):
            session.delete(kept)
            session.flush()
            return None
        if kept.body_hash != _hash(body):
            raise RuleRefusedError(
                FieldProblem(
                    "Idempotency-Key",
                    "was used with another body",
                    "send a new key with a new body",
                )
            )
        self.response.headers[REPLAYED_HEADER] = "true"
        return dict(kept.created)

    def forget(self, session: Session, body: BaseModel) -> None:
        """Let the key stand for a new attempt: what this body created has ended without a result."""
        if self.key is not None:
            kept = session.get(IdempotencyKey, (self.user_id, self.route, self.key))
            if kept is not None and kept.body_hash == _hash(body):
                session.delete(kept)
                session.flush()
        if REPLAYED_HEADER in self.response.headers:
            del self.response.headers[REPLAYED_HEADER]

    def keep(
        self, session: Session, body: BaseModel, *, status: int, created: Mapping[str, Any]
    ) -> None:
        """Note what was created, in the transaction that creates it."""
        if self.key is None:
            return
        now = database_now(session)
        session.add(
            IdempotencyKey(
                user_id=self.user_id,
                route=self.route,
                key=self.key,
                body_hash=_hash(body),
                status=status,
                created=dict(created),
                created_at=now,
                expires_at=now + LIFETIME,
            )
        )
        session.flush()


def _hash(body: BaseModel) -> str:
    return hashlib.sha256(body.model_dump_json().encode()).hexdigest()


async def once(
    request: Request,
    response: Response,
    caller: CallerDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="any text of your own; the same key and body create once in 24 hours",
        ),
    ] = None,
) -> Once:
    """Return the request's idempotency key."""
    return Once(caller.user_id, request.scope["endpoint"].__name__, idempotency_key, response)


OnceDep = Annotated[Once, Depends(once)]
