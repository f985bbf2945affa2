"""The stages of a publication, and what readers of the old schema see of each.

`stage` is the truth; `status` follows from it and keeps exactly the adopted enum's values
(contracts.md, "What the old enums say"). docs/state-machine.md draws the moves.
"""

from enum import StrEnum

from minitik_dagster.db.types import PublicationStatus


class Stage(StrEnum):
    """Where a publication stands.

    scheduled   waits for its prepareAt
    preparing   a dispatcher prepares it; nothing public yet
    prepared    only the commit is left; held until its instant
    committing  a commit step is open
    confirming  the platform accepted it; not seen live yet
    live        the platform says it is published
    unknown     a commit's answer was lost; the platform is being asked
    review      no platform can answer; a person decides
    held        the account cannot be used; reconnecting releases it
    parked      the platform's breaker is open
    paused      an operator paused it
    failed      final; the reason and the fix are with it
    cancelled   taken back before it was sent
    removed     was live, is gone from the platform
    """

    SCHEDULED = "scheduled"
    PREPARING = "preparing"
    PREPARED = "prepared"
    COMMITTING = "committing"
    CONFIRMING = "confirming"
    LIVE = "live"
    UNKNOWN = "unknown"
    REVIEW = "review"
    HELD = "held"
    PARKED = "parked"
    PAUSED = "paused"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REMOVED = "removed"


STATUS_OF: dict[Stage, PublicationStatus] = {
    Stage.SCHEDULED: PublicationStatus.QUEUED,
    Stage.HELD: PublicationStatus.QUEUED,
    Stage.PARKED: PublicationStatus.QUEUED,
    Stage.PAUSED: PublicationStatus.QUEUED,
    Stage.PREPARING: PublicationStatus.PUBLISHING,
    Stage.PREPARED: PublicationStatus.PUBLISHING,
    Stage.COMMITTING: PublicationStatus.PUBLISHING,
    Stage.CONFIRMING: PublicationStatus.PUBLISHING,
    Stage.UNKNOWN: PublicationStatus.PUBLISHING,
    Stage.REVIEW: PublicationStatus.PUBLISHING,
    Stage.LIVE: PublicationStatus.PUBLISHED,
    Stage.REMOVED: PublicationStatus.PUBLISHED,
    Stage.FAILED: PublicationStatus.FAILED,
    Stage.CANCELLED: PublicationStatus.FAILED,
}

FINAL = (Stage.LIVE, Stage.FAILED, Stage.CANCELLED, Stage.REMOVED)
