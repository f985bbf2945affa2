"""`POST /api/scheduling/process`: a nudge from outside schedulers; safe at any time."""

from sqlalchemy import text

from minitik_dagster.api.auth import AdminDep
from minitik_dagster.api.dependencies import SessionDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.base import View
from minitik_dagster.publishing.health import untaken
from minitik_dagster.publishing.pause_queries import WAKE

router = Router(prefix="/api/scheduling", tags=["scheduling"])


class WokenView(View):
    """Dispatchers were woken; `waiting` posts have waited for one for more than a minute."""

    nudged: bool
    waiting: int


@router.post("/process", status_code=202, responses=problems())
def process_due_posts(_admin: AdminDep, session: SessionDep) -> WokenView:
    """Wake the dispatchers (admin): nothing is published by this request itself."""
    waiting = untaken(session.connection()).total
    session.execute(text(WAKE))
    return WokenView(nudged=True, waiting=waiting)
