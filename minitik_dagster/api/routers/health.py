"""`/healthz` and `/readyz`: whether the process is alive, and whether it can work."""

from typing import Literal, Self

from fastapi import APIRouter

from minitik_dagster.api.auth import OptionalCallerDep
from minitik_dagster.api.dependencies import EngineDep, StateDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.readiness import Check, check_others, require_database
from minitik_dagster.api.schemas.base import View

router = APIRouter(tags=["health"])


class Alive(View):
    """The process answers."""

    status: Literal["ok"] = "ok"


class CheckView(View):
    """One server's answer, and what its absence means while it does not answer."""

    name: str
    ok: bool
    detail: str
    loss: str | None = None

    @classmethod
    def of(cls, check: Check) -> Self:
        """Show a check."""
        return cls.model_validate(check, from_attributes=True)


class Readiness(View):
    """`degraded` = works, but without something; `checks` is told to admins only."""

    status: Literal["ok", "degraded"]
    checks: list[CheckView] | None = None


@router.get("/healthz")
async def read_health() -> Alive:
    """Say that the process answers; asks no other server."""
    return Alive()


@router.get(
    "/readyz",
    responses=problems(),
    response_model_exclude_none=True,
    # Credentials may be left out: then the checks are.
    openapi_extra={"security": [{}]},
)
def read_readiness(state: StateDep, engine: EngineDep, caller: OptionalCallerDep) -> Readiness:
    """Say whether it can work: 503 when PostgreSQL does not answer or has another schema version."""
    require_database(engine)
    checks = check_others(state)
    return Readiness(
        status="ok" if all(check.ok for check in checks) else "degraded",
        checks=[CheckView.of(check) for check in checks] if caller and caller.is_admin else None,
    )
