"""The dispatcher's hand on PostgreSQL: short transactions, each under its lease."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from minitik_dagster.db.stages import STATUS_OF, Stage
from minitik_dagster.db.types import to_db
from minitik_dagster.errors import LeaseLostError
from minitik_dagster.publishing import queries
from minitik_dagster.publishing.work import Claim
from minitik_dagster.scheduling.rollup import ROLL_UP

# Columns that `move` may set besides the stage; the text is the cast the driver needs.
_FIELDS = {
    "nextAttemptAt": "timestamp",
    "attempts": "integer",
    "error": "text",
    "errorCode": "text",
    "errorFix": "text",
    "holdReason": "text",
    "verifiedAt": "timestamp",
    "acceptedAt": "timestamp",
    "committedAt": "timestamp",
    "publishedAt": "timestamp",
    "rolledBackAt": "timestamp",
    "platformPostId": "text",
    "permalink": "text",
    "confirmPolls": "integer",
}


class Store:
    """Runs the statements of `queries` for one lease owner, one transaction each."""

    def __init__(self, engine: AsyncEngine, owner: str) -> None:
        self.engine = engine
        self.owner = owner
        self.told = False
        """Events were written since somebody last looked: the streams are to be woken."""

    async def rows(self, sql: str, **parameters: Any) -> Sequence[Mapping[str, Any]]:
        """Run one statement in its own transaction and return its rows."""
        async with self.engine.begin() as connection:
            result = await connection.execute(text(sql), parameters)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []

    async def fenced(self, claim: Claim, sql: str, **parameters: Any) -> Mapping[str, Any]:
        """Run a statement that carries the fence; LeaseLostError when it touched no row."""
        rows = await self.rows(
            sql,
            id=claim.publication_id,
            owner=self.owner,
            token=claim.lease_token,
            **parameters,
        )
        if not rows:
            raise LeaseLostError(f"publication {claim.publication_id}: the lease was taken over")
        return rows[0]

    async def move(
        self,
        claim: Claim,
        stage: Stage,
        *,
        release: bool = False,
        asked_at: datetime | None = None,
        also: Iterable[tuple[str, Mapping[str, Any]]] = (),
        **fields: Any,
    ) -> Claim:
        """Move a publication to `stage` under its lease: the one function that does.

        `release` hands the lease back; `also` are statements of the same transaction; `fields` are
        columns to set (see `_FIELDS`). Job and content are rolled up where the stage changed.
        `asked_at`: when the platform was asked for the last time; an event that came since keeps the
        publication due now, whatever `nextAttemptAt` says.
        """
        unknown = set(fields) - set(_FIELDS)
        assert not unknown, unknown
        assignments = "".join(f', "{name}" = CAST(:f_{name} AS {_FIELDS[name]})' for name in fields)
        if asked_at is not None:
            plain = '"nextAttemptAt" = CAST(:f_nextAttemptAt AS timestamp)'
            assignments = assignments.replace(plain, f'"nextAttemptAt" = {queries.HEED}')
        if release:
            assignments += queries.RELEASE_FIELDS
        sql = queries.MOVE.replace("{fields}", assignments)
        parameters: dict[str, Any] = {
            "id": claim.publication_id,
            "owner": self.owner,
            "token": claim.lease_token,
            "stage": stage.value,
            "status": STATUS_OF[stage].value,
            "tell": stage is not claim.stage,
        } | {f"f_{name}": value for name, value in fields.items()}
        if asked_at is not None:
            parameters["asked_at"] = to_db(asked_at)
        async with self.engine.begin() as connection:
            if stage is not claim.stage:
                await connection.execute(text(ROLL_UP[0]), {"content_id": claim.content_id})
            moved = await connection.execute(text(sql), parameters)
            if moved.first() is None:
                raise LeaseLostError(
                    f"publication {claim.publication_id}: the lease was taken over"
                )
            for statement, values in also:
                await connection.execute(text(statement), dict(values))
            if stage is not claim.stage:
                ids = {"content_id": claim.content_id, "job_id": claim.scheduled_job_id}
                for statement in ROLL_UP[1:]:
                    await connection.execute(text(statement), ids)
        self.told = True
        return claim.at_stage(stage)
