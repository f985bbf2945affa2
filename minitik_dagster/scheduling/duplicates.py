"""The same post twice: the same content, or the same file and caption, on the same account.

What is being sent by two requests at once is settled by the locks of schedule.py: the second one sees
the first.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Content
from minitik_dagster.db.types import to_db
from minitik_dagster.errors import FieldProblem
from minitik_dagster.media.facts import MediaFacts
from minitik_dagster.scheduling.duplicate_queries import FIND

WINDOW_HOURS: Final = 72
_FIND: Final = text(FIND)


def duplicates(
    session: Session,
    content: Content,
    account_ids: Sequence[str],
    captions: Mapping[str, str],
    due_at: datetime,
    *,
    job_id: str | None = None,
) -> list[FieldProblem]:
    """Return a finding per account that has this post already, or is about to.

    The content itself counts while it waits, and for WINDOW_HOURS after it was sent. Another content
    counts if its file is the same (MediaFacts.fingerprint), its caption is the account's of `captions`,
    and the two instants lie within WINDOW_HOURS. What was rolled back and is still public counts
    whatever the window. `job_id`: a job whose own posts do not count, it is the one that changes.
    """
    facts = MediaFacts.from_metadata(content.details)
    rows = session.execute(
        _FIND,
        {
            "content_id": content.id,
            "account_ids": list(account_ids),
            "fingerprint": facts.same_file if facts else None,
            "captioned": list(captions),
            "captions": [value.strip() for value in captions.values()],
            "due_at": to_db(due_at),
            "window_hours": WINDOW_HOURS,
            "job_id": job_id,
        },
    ).mappings()
    per_account = {row["account_id"]: row for row in rows}
    return [
        FieldProblem(
            "accountIds",
            f"{'this content' if row['same'] else 'the same file with the same caption'} is already "
            f"{row['stage'] or row['status']} on {row['platform']} account {account_id}"
            + ("" if row["same"] else f" (content {row['content_id']})"),
            "leave the account out, cancel the other post, or set allowDuplicate",
        )
        for account_id, row in per_account.items()
    ]
