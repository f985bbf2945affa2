"""Are the servers there? PostgreSQL decides, the others only degrade: what their loss means is told."""

from dataclasses import dataclass

from sqlalchemy import Engine

from minitik_dagster.api.state import ApiState
from minitik_dagster.db.migrate import require_schema
from minitik_dagster.operations import publishable, servers
from minitik_dagster.operations.losses import LOSSES


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


def check_deployment(reason: str | None) -> list[Check]:
    """Say that this deployment is a preview or a copy, with the reason; nothing where it is not."""
    if reason is None:
        return []
    return [Check("deployment", ok=False, detail=reason, loss=LOSSES["deployment"])]


def check_engine(engine: publishable.Engine) -> list[Check]:
    """Say whether somebody publishes, and whether Dagster, where it has been seen, still looks."""
    alive = f"{engine.dispatchers} alive" if engine.dispatchers else "none is alive now"
    checks = [
        Check("dispatcher", ok=True, detail=alive)
        if engine.takes_posts
        else Check("dispatcher", ok=False, detail=alive, loss=LOSSES["dispatcher"])
    ]
    if engine.sensor_age is not None:
        detail = f"its sensor looked {engine.sensor_age.total_seconds():.0f} s ago"
        silent = engine.dagster_is_silent
        loss = LOSSES["dagster"] if silent else None
        checks.append(Check("dagster", ok=not silent, detail=detail, loss=loss))
    return checks


def check_others(state: ApiState) -> list[Check]:
    """Ask Redis, MongoDB and S3 side by side, for some seconds at most."""
    return [
        Check(
            answer.server,
            ok=answer.ok,
            detail=answer.detail,
            loss=None if answer.ok else LOSSES[answer.server],
        )
        for answer in servers.ask(state.settings, lambda: state.object_store)
    ]
