"""`/metrics`: the figures for Prometheus (admin: a key with scope admin as the scraper's bearer)."""

from fastapi import Response
from prometheus_client import CONTENT_TYPE_LATEST

from minitik_dagster.api.auth import AdminDep
from minitik_dagster.api.dependencies import SessionDep, SettingsDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.operations.figures import collect
from minitik_dagster.operations.lateness import two_days
from minitik_dagster.operations.prometheus import RedisFigures, render
from minitik_dagster.scheduling.counts import queue_metrics

router = Router(tags=["health"])


@router.get(
    "/metrics",
    response_class=Response,
    responses=problems() | {200: {"content": {"text/plain": {}}}},
)
def read_metrics(_admin: AdminDep, session: SessionDep, settings: SettingsDep) -> Response:
    """Read all figures in Prometheus' text format (admin)."""
    connection = session.connection()
    text = render(
        queue_metrics(session),
        collect(connection),
        two_days(connection),
        RedisFigures.read(settings),
    )
    return Response(text, media_type=CONTENT_TYPE_LATEST)
