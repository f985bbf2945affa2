"""Taking back what was prepared: a dropped handle, and the note to discard it, in one transaction.

Only a private YouTube video has to be deleted: the note stands in the outbox, and dispatchers carry it
out (publishing/outbox.py). A TikTok upload URL and an Instagram container end by themselves.
"""

from dataclasses import dataclass
from typing import Final, Self

from sqlalchemy import RowMapping

from minitik_dagster.db.types import Platform

_SAYING: Final = {
    Platform.YOUTUBE: "the private video is deleted from the channel within minutes",
    Platform.TIKTOK: "nothing is public; what was uploaded ends with its URL within an hour",
    Platform.INSTAGRAM: "nothing is public; the container ends by itself within 24 hours",
}


@dataclass(frozen=True)
class Undone:
    """What becomes of one post's preparation, in plain words."""

    publication_id: str
    platform: Platform
    text: str

    @classmethod
    def of(cls, row: RowMapping) -> Self:
        """Read a row of DROP_HANDLES."""
        platform = Platform(row["platform"])
        return cls(row["publication_id"], platform, _SAYING[platform])
