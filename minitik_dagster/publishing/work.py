"""A claimed publication: what the dispatcher read under its lease, and nothing older."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from minitik_dagster.db.stages import Stage
from minitik_dagster.db.types import AccountStatus, JobPriority, Platform, from_db
from minitik_dagster.platforms.port import Post


@dataclass(frozen=True)
class OpenCommit:
    """A commit step without an end: this lease's own, or one a crash left behind."""

    step_id: str
    handle_id: str
    started_at: datetime
    send_by: datetime
    sent_at: datetime | None


@dataclass(frozen=True)
class Claim:
    """One publication under our lease. `lease_token` fences every write (engine.md R5)."""

    publication_id: str
    content_id: str
    account_id: str
    scheduled_job_id: str | None
    platform: Platform
    stage: Stage
    lease_token: int
    revision: int
    due_at: datetime
    priority: JobPriority
    max_lateness: timedelta | None
    attempts: int
    confirm_polls: int
    account_status: AccountStatus
    platform_account_id: str
    content_deleted: bool
    media_key: str | None
    media_size: int
    mime_type: str
    duration: timedelta | None
    title: str
    description: str | None
    options: Mapping[str, Any]
    accepted_at: datetime | None
    platform_post_id: str | None
    bull_job_id: str | None
    open_commit: OpenCommit | None
    open_steps: int

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Read a row of queries.CLAIM."""
        commit = None
        if row["commit_id"] is not None:
            commit = OpenCommit(
                step_id=row["commit_id"],
                handle_id=row["commit_handle_id"],
                started_at=from_db(row["commit_started_at"]),
                send_by=from_db(row["commit_send_by"]),
                sent_at=from_db(row["commit_sent_at"]) if row["commit_sent_at"] else None,
            )
        lateness = row["max_lateness"]
        return cls(
            publication_id=row["id"],
            content_id=row["content_id"],
            account_id=row["account_id"],
            scheduled_job_id=row["scheduled_job_id"],
            platform=Platform(row["platform"]),
            stage=Stage(row["stage"]),
            lease_token=row["lease_token"],
            revision=row["revision"],
            due_at=from_db(row["due_at"]),
            priority=JobPriority(row["priority"] or JobPriority.NORMAL),
            max_lateness=None if lateness is None else timedelta(seconds=lateness),
            attempts=row["attempts"],
            confirm_polls=row["confirm_polls"],
            account_status=AccountStatus(row["account_status"]),
            platform_account_id=row["platform_account_id"],
            content_deleted=row["content_deleted"],
            media_key=row["media_key"],
            media_size=row["media_size"] or 0,
            mime_type=row["mime_type"] or "video/mp4",
            duration=timedelta(seconds=row["duration"]) if row["duration"] else None,
            title=row["title"],
            description=row["description"],
            options=row["options"] or {},
            accepted_at=from_db(row["accepted_at"]) if row["accepted_at"] else None,
            platform_post_id=row["platform_post_id"],
            bull_job_id=row["bull_job_id"],
            open_commit=commit,
            open_steps=row["open_steps"],
        )

    def at_stage(self, stage: Stage) -> Self:
        """Return the claim as it stands after a move to `stage`."""
        return replace(self, stage=stage)

    @property
    def post(self) -> Post:
        """What the platform client is handed; options hold the resolved caption and title."""
        title = str(self.options.get("title") or self.title)
        caption = str(self.options.get("caption") or self.description or self.title)
        return Post(
            publication_id=self.publication_id,
            account_id=self.account_id,
            platform_account_id=self.platform_account_id,
            title=title,
            caption=caption,
            options=self.options,
            due_at=self.due_at,
            revision=self.revision,
            marker=f"mtk-{self.publication_id}",
            duration=self.duration,
        )
