"""Who did what: an entry of the audit log, in the transaction that does it."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from minitik_dagster.ids import new_id

_NOTE: Final = text(
    """
    INSERT INTO audit_log (id, at, actor, action, subject, detail)
    VALUES (:row_id, statement_timestamp() AT TIME ZONE 'UTC', :actor, :action, :subject,
        CAST(:detail AS jsonb))
    """
)


def note(
    session: Session | Connection, actor: str, action: str, subject: str, detail: Mapping[str, Any]
) -> None:
    """Write one entry: `actor` did `action` to `subject`, an id; `detail` holds ids and counts."""
    values = {
        "row_id": new_id(),
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": json.dumps(detail),
    }
    session.execute(_NOTE, values)
