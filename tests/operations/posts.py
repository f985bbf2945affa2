"""Scheduled posts as rows of a real database."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from minitik_dagster.scheduling.instants import resolve
from minitik_dagster.scheduling.rules import Wish
from minitik_dagster.scheduling.schedule import schedule
from tests.api.scene import Person, Scene


def post(
    engine: Engine,
    scene: Scene,
    person: Person,
    account: str,
    *,
    due_in: timedelta = timedelta(hours=3),
    content: str | None = None,
    allow_duplicate: bool = False,
) -> str:
    """Schedule a post as the API does; return its publication's id.

    An instant in the past is set afterwards: nobody can schedule for one.
    """
    wish = Wish(
        person.id,
        content or scene.content(person),
        (account,),
        allow_duplicate=allow_duplicate,
    )
    at = datetime.now(UTC) + max(due_in, timedelta(minutes=5))
    with Session(engine) as session, session.begin():
        made = schedule(session, wish, resolve(at.isoformat(), "UTC", field="scheduledAt"))
        publication = made.publications[0].id
    if due_in < timedelta(minutes=5):
        scene.run(
            'UPDATE publications SET "dueAt" = :at, "prepareAt" = :at WHERE id = :id',
            at=(datetime.now(UTC) + due_in).replace(tzinfo=None),
            id=publication,
        )
    return publication
