"""`/healthz` and `/readyz`: whether the process is alive, and whether it can work."""

from typing import Literal, Self

from minitik_dagster.api.auth import OptionalCallerDep
from minitik_dagster.api.dependencies import EngineDep, StateDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.readiness import (
    Check,
    check_deployment,
    check_engine,
    check_others,
    require_database,
)
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.base import View
from minitik_dagster.db.instance import not_ours
from minitik_dagster.db.types import Platform
from minitik_dagster.operations.publishable import Answer, Verdict, look

router = Router(tags=["health"])


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


class ReasonView(View):
    """What is in the way of a post; `wanted`: an operator's own wish (a pause), no fault."""

    code: str
    detail: str
    wanted: bool


class PublishingView(View):
    """Whether a post would go out now; `later`: once its reasons are gone, and nothing is lost."""

    platform: Platform
    can_publish: Answer
    reasons: list[ReasonView]

    @classmethod
    def of(cls, verdict: Verdict) -> Self:
        """Show a verdict."""
        reasons = [ReasonView.model_validate(one, from_attributes=True) for one in verdict.reasons]
        return cls(platform=verdict.platform, can_publish=verdict.answer, reasons=reasons)


class Readiness(View):
    """`degraded` = works, but without something; `checks` and `publishing` are told to admins only."""

    status: Literal["ok", "degraded"]
    checks: list[CheckView] | None = None
    publishing: list[PublishingView] | None = None


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
    """Say whether it can work: 503 when PostgreSQL does not answer or has another schema version.

    For an admin: each dependency, with what its loss means, and per platform whether a post would go
    out now.
    """
    require_database(engine)
    checks = check_others(state)
    stored = next(check.ok for check in checks if check.name == "s3")
    with engine.connect() as connection:
        outlook = look(connection, state.settings, store_is_there=stored)
        idle = not_ours(connection, state.settings)
    checks = [
        Check("postgresql", ok=True, detail="answers, at this program's schema"),
        *checks,
        *check_engine(outlook.engine),
        *check_deployment(idle),
    ]
    well = all(check.ok for check in checks) and not any(
        verdict.is_faulty for verdict in outlook.verdicts
    )
    told = caller is not None and caller.is_admin
    return Readiness(
        status="ok" if well else "degraded",
        checks=[CheckView.of(check) for check in checks] if told else None,
        publishing=[PublishingView.of(one) for one in outlook.verdicts] if told else None,
    )
