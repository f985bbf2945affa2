"""`/api/platforms`: circuit breakers and call budgets, as everyone sees them on Redis."""

from typing import Annotated, Literal

from fastapi import Depends
from pydantic import BeforeValidator, Field

from minitik_dagster.accounts.directory import list_accounts
from minitik_dagster.accounts.scopes import READS_POSTS
from minitik_dagster.api.auth import AdminDep, Caller, require_scope
from minitik_dagster.api.dependencies import SessionDep, SettingsDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.base import Instant, View
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import DependencyDownError
from minitik_dagster.resilience.breaker import BreakerState, read_states, reset_breaker
from minitik_dagster.resilience.limit_use import read_use
from minitik_dagster.resilience.limits_table import budgets
from minitik_dagster.settings import Settings

router = Router(prefix="/api/platforms", tags=["platforms"])

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


class RateLimitView(View):
    """A call budget in its present window; `used` is null while Redis does not answer."""

    name: str
    platform: Platform
    subject: str = Field(description="an account's id, or `app`: counted for the whole deployment")
    window_seconds: int
    limit: int = Field(description="the platform's figure, in units per window")
    budget: int = Field(description="what is used of it here")
    used: int | None
    resets_at: Instant


class RateLimitsView(View):
    """The app's budgets, and those of each account of the caller's."""

    rate_limits: list[RateLimitView]


@router.get("/rate-limits", responses=problems())
def list_rate_limits(caller: Reader, settings: SettingsDep, session: SessionDep) -> RateLimitsView:
    """Read how much of the platforms' call limits is used."""
    accounts = [
        (facts.platform, facts.id) for facts in list_accounts(session, user_id=caller.user_id)
    ]
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    found = read_use(url, budgets(settings), accounts)
    return RateLimitsView(
        rate_limits=[RateLimitView.model_validate(use, from_attributes=True) for use in found]
    )


@router.post("/circuit-breakers/{platform}/reset", responses=problems())
def reset_circuit_breaker(
    platform: PlatformPath, _admin: AdminDep, settings: SettingsDep
) -> BreakersView:
    """Close a platform's breaker now, everywhere within a second (admin)."""
    reset_breaker(_redis_url(settings), platform)
    states = read_states(_redis_url(settings))
    return BreakersView(circuit_breakers=[_view(state) for state in states])
