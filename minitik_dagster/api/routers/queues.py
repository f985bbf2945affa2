"""`/api/queues`: pause and resume everything, a platform or an account (admin)."""

from typing import Annotated

from pydantic import Field, StrictBool, StrictStr

from minitik_dagster.api.auth import AdminDep
from minitik_dagster.api.dependencies import SessionDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.base import Body, Instant, View
from minitik_dagster.publishing import pauses

router = Router(prefix="/api/queues", tags=["queues"])


class ScopeBody(Body):
    """One scope: `all`, a platform, or an account."""

    everything: Annotated[StrictBool, Field(alias="all")] = False
    platform: Annotated[StrictStr, Field(max_length=20)] | None = None
    account_id: Annotated[StrictStr, Field(max_length=64)] | None = None

    @property
    def scope(self) -> pauses.Scope:
        """The scope; InvalidInputError unless exactly one is named."""
        return pauses.Scope.of(
            everything=self.everything, platform=self.platform, account_id=self.account_id
        )


class PauseBody(ScopeBody):
    """What to pause, and why."""

    reason: Annotated[StrictStr, Field(max_length=500)] = ""


class PauseView(View):
    """A pause in force; `scope` is `all`, `platform:<p>` or `account:<id>`."""

    scope: str
    reason: str
    actor: str
    since: Instant


class PausesView(View):
    """The pauses in force."""

    pauses: list[PauseView]


class CostView(View):
    """What a pause holds back: `paused` now, `waiting` with what begins within the hour."""

    paused: int
    waiting: int
    creators: int


class ResumedView(View):
    """What a resume let go; `tooLate` of them fail for their maxLateness."""

    released: int
    too_late: int


@router.get("", responses=problems())
def list_queue_pauses(_admin: AdminDep, session: SessionDep) -> PausesView:
    """List the pauses in force."""
    found = pauses.list_pauses(session.connection())
    return PausesView(
        pauses=[PauseView.model_validate(item, from_attributes=True) for item in found]
    )


@router.post("/pause", responses=problems(404))
def pause_queue(body: PauseBody, admin: AdminDep, session: SessionDep) -> CostView:
    """Pause a scope: from within a second its posts wait, and do not fail."""
    cost = pauses.pause(session.connection(), body.scope, reason=body.reason, actor=admin.user_id)
    return CostView.model_validate(cost, from_attributes=True)


@router.post("/resume", responses=problems(404))
def resume_queue(body: ScopeBody, admin: AdminDep, session: SessionDep) -> ResumedView:
    """Resume a scope; what no other pause covers goes on at once."""
    done = pauses.resume(session.connection(), body.scope, actor=admin.user_id)
    return ResumedView.model_validate(done, from_attributes=True)
