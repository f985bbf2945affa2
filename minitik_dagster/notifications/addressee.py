"""To whom a notice goes, what they wish, and the facts its words are filled with."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, text

from minitik_dagster.db.types import from_db
from minitik_dagster.notifications import preferences
from minitik_dagster.notifications.event_queries import NOW
from minitik_dagster.notifications.notices import SCHEDULE_REMINDER

# A notice names its person, or the account or publication by which they are found.
_FIND: Final = text(
    f"""
    WITH about AS (
        SELECT COALESCE(CAST(:user_id AS text),
            (SELECT c."userId" FROM publications p JOIN contents c ON c.id = p."contentId"
                WHERE p.id = :publication_id),
            (SELECT "userId" FROM accounts WHERE id = :account_id)) AS user_id
    )
    SELECT u.id AS user_id, u.email, a.platform::text AS platform, c.title, {NOW} AS now,
        j.timezone AS zone, j.id IS NOT NULL AS is_ahead, {preferences.COLUMNS}
    FROM about b
    JOIN users u ON u.id = b.user_id AND u."deletedAt" IS NULL
    LEFT JOIN publications p ON p.id = :publication_id
    LEFT JOIN contents c ON c.id = COALESCE(p."contentId", :content_id) AND c."userId" = u.id
    LEFT JOIN accounts a ON a.id = COALESCE(:account_id, p."accountId") AND a."userId" = u.id
    LEFT JOIN scheduled_jobs j ON j.id = :job_id AND j.status = 'PENDING'
        AND j."scheduledAt" = CAST(:scheduled_at AS timestamp) AND j."scheduledAt" > {NOW}
    LEFT JOIN notification_preferences n ON n."userId" = u.id
    """  # noqa: S608 - constants
)
_NAMES: Final = {"Tiktok": "TikTok", "Youtube": "YouTube"}


@dataclass(frozen=True)
class Addressee:
    """The person of one notice. `overtaken` says why it need not be sent any more, None where it must."""

    user_id: str
    email: str
    facts: Mapping[str, Any]
    wishes: preferences.Preferences
    now: datetime
    overtaken: str | None = None


def find(
    connection: Connection, notice: str, payload: Mapping[str, Any], url: str
) -> Addressee | None:
    """Return whom a notice concerns; None where nobody is left. `url` is the application's address."""
    reminds = notice == SCHEDULE_REMINDER
    values = {
        "user_id": payload.get("userId"),
        "account_id": payload.get("accountId"),
        "publication_id": payload.get("publicationId"),
        "content_id": payload.get("contentId"),
        "job_id": payload.get("scheduledJobId") if reminds else None,
        "scheduled_at": str(payload["scheduledAt"]).removesuffix("Z") if reminds else None,
    }
    row = connection.execute(_FIND, values).mappings().first()
    if row is None:
        return None
    platform = str(payload.get("platform") or row["platform"] or "").capitalize()
    facts: dict[str, Any] = {
        "title": None,
        **_inner(payload),
        "platform": _NAMES.get(platform, platform),
        "url": url,
    }
    if row["title"] is not None:
        facts["title"] = row["title"]
    overtaken = None
    if reminds:
        if row["is_ahead"]:
            at = datetime.fromisoformat(str(payload["scheduledAt"])).astimezone(_zone(row["zone"]))
            facts["localTime"] = f"{at:%H:%M on %A, %d %B} ({row['zone']})"
        else:
            overtaken = "its post is not ahead any more"
    return Addressee(
        user_id=row["user_id"],
        email=row["email"],
        facts=facts,
        wishes=preferences.from_row(dict(row)),
        now=from_db(row["now"]),
        overtaken=overtaken,
    )


def _inner(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload's facts, and those of its error beside them."""
    error = payload.get("error")
    return {**payload, **(error if isinstance(error, Mapping) else {})}


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        return ZoneInfo("UTC")
