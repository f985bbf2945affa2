"""`/api/platforms`: the circuit breakers, as everyone sees them on Redis."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BeforeValidator

from minitik_dagster.accounts.scopes import READS_POSTS
from minitik_dagster.api.auth import AdminDep, Caller, require_scope
from minitik_dagster.api.dependencies import SettingsDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.schemas.base import Instant, View
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import DependencyDownError
from minitik_dagster.resilience.breaker import BreakerState, read_states, reset_breaker
from minitik_dagster.settings import Settings

router = APIRouter(prefix="/api/platforms", tags=["platforms"])

Reader = Annotated[Caller, Depends(require_scope(*READS_POSTS))]
Health = Literal["healthy", "recovering", "unhealthy", "unknown"]
_HEALTH: dict[str, Health] = {"CLOSED": "healthy", "HALF_OPEN": "recovering", "OPEN": "unhealthy"}


class BreakerView(View):
    """A platform's breaker; `failures` are those of the last minute."""

    platform: Platform
    state: str
    failures: int
    opened_at: Instant | None


class BreakersView(View):
    """All breakers."""

    circuit_breakers: list[BreakerView]


class PlatformHealth(View):
    """A platform as our own calls find it; `unknown` while Redis does not answer."""

    platform: Platform
    status: Health
    circuit_breaker: BreakerView | None


class PlatformsHealth(View):
    """All platforms."""

    health: list[PlatformHealth]


def _redis_url(settings: Settings) -> str:
    if settings.redis_url is None:
        raise DependencyDownError("redis", "REDIS_URL is not set: the breakers live there")
    return settings.redis_url.get_secret_value()


def _view(state: BreakerState) -> BreakerView:
    return BreakerView(
        platform=Platform(state.platform.upper()),
        state=state.state,
        failures=state.failures,
        opened_at=state.opened_at,
    )


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


PlatformPath = Annotated[Platform, BeforeValidator(_upper)]


@router.get("/health", responses=problems())
def read_platform_health(_caller: Reader, settings: SettingsDep) -> PlatformsHealth:
    """Say how each platform fares; Redis down hides it, and lets everything pass."""
    try:
        views = [_view(state) for state in read_states(_redis_url(settings))]
    except DependencyDownError:
        return PlatformsHealth(
            health=[
                PlatformHealth(platform=item, status="unknown", circuit_breaker=None)
                for item in Platform
            ]
        )
    return PlatformsHealth(
        health=[
            PlatformHealth(
                platform=view.platform,
                status=_HEALTH.get(view.state, "unknown"),
                circuit_breaker=view,
            )
            for view in views
        ]
    )


@router.get("/circuit-breakers", responses=problems())
def list_circuit_breakers(_caller: Reader, settings: SettingsDep) -> BreakersView:
    """Read each platform's breaker."""
    states = read_states(_redis_url(settings))
    return BreakersView(circuit_breakers=[_view(state) for state in states])


@router.post("/circuit-breakers/{platform}/reset", responses=problems())
def reset_circuit_breaker(
    platform: PlatformPath, _admin: AdminDep, settings: SettingsDep
) -> BreakersView:
    """Close a platform's breaker now, everywhere within a second (admin)."""
    reset_breaker(_redis_url(settings), platform)
    states = read_states(_redis_url(settings))
    return BreakersView(circuit_breakers=[_view(state) for state in states])
