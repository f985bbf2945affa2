"""Telling owners and operators what the forecast found: each once."""

import json
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, text

from minitik_dagster.clock import iso_z
from minitik_dagster.notifications.notices import PUBLICATION_AT_RISK
from minitik_dagster.operations.forecast import Forecast
from minitik_dagster.publishing.queries import NOW

# A post and a reason are told of once, and again when the post was moved.
_TELL: Final = text(
    f"""
    INSERT INTO outbox (id, kind, payload, "dueAt", attempts, "createdAt")
    VALUES (:row_id, :kind, CAST(:payload AS jsonb), {NOW}, 0, {NOW})
    ON CONFLICT (id) DO NOTHING RETURNING id
    """  # noqa: S608 - a constant
)
# What the alert `forecast.failing` reads.
_KEEP: Final = text(
    f"""
    INSERT INTO settings (key, value, "updatedAt")
    VALUES ('forecast', jsonb_build_object('failing', CAST(:failing AS integer),
        'checked', CAST(:checked AS integer), 'publications', CAST(:publications AS jsonb)), {NOW})
    ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, "updatedAt" = EXCLUDED."updatedAt"
    """  # noqa: S608 - a constant
)

_LAST: Final = text("SELECT value FROM settings WHERE key = 'forecast'")
_KEPT: Final = 100


@dataclass(frozen=True)
class Kept:
    """The last forecast: how many posts it looked at, and the first hundred that will not make it."""

    checked: int = 0
    publications: tuple[str, ...] = ()


def last(connection: Connection) -> Kept:
    """Return the last forecast; an empty one before the first."""
    value = connection.execute(_LAST).scalar_one_or_none()
    return Kept(value["checked"], tuple(value["publications"])) if value else Kept()


def tell(connection: Connection, found: Forecast) -> int:
    """Queue a notice to the owner of each post that will not make it; return how many were new."""
    failing = sorted(found.failing)
    kept = {"failing": len(failing), "checked": found.checked}
    connection.execute(_KEEP, {**kept, "publications": json.dumps(failing[:_KEPT])})
    told = 0
    for risk in found.risks:
        if not risk.certain:
            continue
        due_at = iso_z(risk.due_at)
        payload = {
            "userId": risk.user_id,
            "accountId": risk.account_id,
            "publicationId": risk.publication_id,
            "platform": risk.platform,
            "dueAt": due_at,
            "reason": risk.message,
            "fix": risk.fix,
        }
        values = {
            "row_id": f"risk:{risk.publication_id}:{risk.code}:{due_at}",
            "kind": PUBLICATION_AT_RISK,
            "payload": json.dumps(payload),
        }
        told += connection.execute(_TELL, values).first() is not None
    return told
