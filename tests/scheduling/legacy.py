"""A database as the old system leaves it, upgraded and not yet adopted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from minitik_dagster.db.migrate import upgrade
from minitik_dagster.db.types import to_db
from minitik_dagster.ids import new_id

DDL = Path(__file__).parent.parent / "data" / "legacy_schema.sql"


def load(engine: Engine, database_url: str, *, world: str = "sandbox") -> None:
    """Make the old schema, then bring it to ours as `minitik db upgrade` does."""
    with engine.begin() as connection:
        connection.exec_driver_sql(DDL.read_text())
    upgrade(database_url, world=world)


@dataclass
class OldSystem:
    """Writes rows as the old system's ORM does; makes a user unless one is given."""

    engine: Engine
    user_id: str = ""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        if self.user_id:
            return
        self.user_id = new_id()
        self._insert(
            "users",
            {"id": self.user_id, "email": f"{self.user_id}@example.org", "updatedAt": self.now},
        )

    def account(self, platform: str, **columns: Any) -> str:
        """A connected account."""
        account_id = new_id()
        self._insert(
            "accounts",
            {
                "id": account_id,
                "userId": self.user_id,
                "platform": platform,
                "platformAccountId": account_id,
                "accessToken": "",
                "status": "CONNECTED",
                "connectedAt": self.now,
                **columns,
            },
        )
        return account_id

    def content(self, **columns: Any) -> str:
        """An uploaded video."""
        content_id = new_id()
        self._insert(
            "contents",
            {
                "id": content_id,
                "userId": self.user_id,
                "title": "A title",
                "filePath": f"content/{self.user_id}/{content_id}/video.mp4",
                "fileSize": 300_000,
                "mimeType": "video/mp4",
                "status": "SCHEDULED",
                "createdAt": self.now,
                "updatedAt": self.now,
                **columns,
            },
        )
        return content_id

    def job(self, content_id: str, account_ids: Sequence[str] | None, **columns: Any) -> str:
        """A scheduled job, due in one hour."""
        job_id = new_id()
        self._insert(
            "scheduled_jobs",
            {
                "id": job_id,
                "contentId": content_id,
                "accountIds": None if account_ids is None else list(account_ids),
                "scheduledAt": self.now + timedelta(hours=1),
                "timezone": "Europe/Vienna",
                "status": "PENDING",
                "createdAt": self.now,
                "updatedAt": self.now,
                **columns,
            },
        )
        return job_id

    def publication(self, content_id: str, account_id: str, platform: str, **columns: Any) -> str:
        """A publication as the old worker wrote it."""
        publication_id = new_id()
        self._insert(
            "publications",
            {
                "id": publication_id,
                "contentId": content_id,
                "accountId": account_id,
                "platform": platform,
                "createdAt": self.now,
                "updatedAt": self.now,
                **columns,
            },
        )
        return publication_id

    def rows(self, table: str = "publications") -> dict[str, dict[str, Any]]:
        """Every row of a table by its id."""
        with Session(self.engine) as session:
            found = session.execute(text(f"SELECT * FROM {table}")).mappings()  # noqa: S608
            return {row["id"]: dict(row) for row in found}

    def _insert(self, table: str, columns: dict[str, Any]) -> None:
        enums = {
            ("accounts", "status"): "AccountStatus",
            ("contents", "status"): "ContentStatus",
            ("scheduled_jobs", "status"): "JobStatus",
            ("publications", "status"): "PublicationStatus",
            ("accounts", "platform"): "Platform",
            ("publications", "platform"): "Platform",
        }
        values = {
            name: to_db(value) if isinstance(value, datetime) else value
            for name, value in columns.items()
        }
        names = ", ".join(f'"{name}"' for name in columns)
        marks = ", ".join(
            f'CAST(:{name} AS "{enums[table, name]}")'
            if (table, name) in enums
            else f"CAST(:{name} AS jsonb)"
            if name == "metadata"
            else f":{name}"
            for name in columns
        )
        with self.engine.begin() as connection:
            connection.execute(
                text(f"INSERT INTO {table} ({names}) VALUES ({marks})"),  # noqa: S608
                values,
            )
