"""The engine's numbers in one place: leases, deadlines, settle times, ladders, bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

from minitik_dagster.db.types import Platform
from minitik_dagster.settings import Settings


@dataclass(frozen=True)
class EnginePolicy:
    """How a dispatcher behaves; every duration is a timedelta, made from Settings.

    lease: how long a claim lives without a heartbeat (sent at a third of it). settle: how long "not
    published" is not believed after the last moment a commit could have been sent (engine.md R3).
    send_deadline: R4. commit_lead: how long before the instant the commit's ledger row is opened, so
    that the instant itself waits for no database. hold: what is due later than this after its
    preparation is handed back and claimed again. window: a Dagster run's longest life; None for the
    resident dispatcher. idle: a window ends when nothing needs it for so long.
    """

    lease: timedelta
    send_deadline: timedelta
    commit_lead: timedelta
    settle: dict[Platform, timedelta]
    confirm_ladder: tuple[timedelta, ...]
    window: timedelta | None
    idle: timedelta
    uploads_at_once: int
    uploads_total: int
    uploads_per_account: int
    claim_limit: int
    max_skew: timedelta
    spool: Path
    hold: timedelta
    # A live post is looked at again at these ages: moderation takes posts away late.
    live_checks: tuple[timedelta, ...] = (
        timedelta(minutes=5),
        timedelta(hours=1),
        timedelta(hours=24),
    )
    # A removal is believed when it is seen twice, so far apart.
    second_look: timedelta = timedelta(seconds=15)
    warm_ahead: timedelta = timedelta(seconds=6)
    # A token younger than this is not refreshed again.
    refresh_min: timedelta = timedelta(seconds=60)
    poll: timedelta = timedelta(seconds=1)
    clock_sample_every: timedelta = timedelta(seconds=30)
    wait_in_process: timedelta = timedelta(seconds=20)
    drain: timedelta = timedelta(seconds=20)
    review_after: timedelta = timedelta(hours=24)
    default_max_lateness: timedelta = timedelta(hours=6)
    # Lost answers of steps that make a handle are repeated so often in 24 h (engine.md R1; the
    # platforms allow 400 containers per account and 100 inserts per project a day).
    handles_per_post: Mapping[Platform, int] = field(
        default_factory=lambda: {
            Platform.TIKTOK: 20,
            Platform.INSTAGRAM: 5,
            Platform.YOUTUBE: 3,
        }
    )
    # What is lost again and again is lost to an outage that ends, or to a fault of ours that would eat
    # the app's quota: further handles are made after ever longer waits, and so many at most.
    handle_pauses: Sequence[timedelta] = tuple(
        timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 30, 60)
    )

    @classmethod
    def from_settings(cls, settings: Settings, *, resident: bool) -> Self:
        """Read the policy from the environment's settings."""
        return cls(
            lease=timedelta(seconds=settings.minitik_lease_seconds),
            send_deadline=timedelta(seconds=settings.minitik_send_deadline_seconds),
            commit_lead=timedelta(seconds=settings.minitik_commit_lead_seconds),
            settle={
                Platform.TIKTOK: timedelta(seconds=settings.minitik_settle_tiktok_seconds),
                Platform.INSTAGRAM: timedelta(seconds=settings.minitik_settle_instagram_seconds),
                Platform.YOUTUBE: timedelta(seconds=settings.minitik_settle_youtube_seconds),
            },
            confirm_ladder=tuple(
                timedelta(seconds=step) for step in settings.minitik_confirm_ladder
            ),
            live_checks=tuple(timedelta(seconds=age) for age in settings.minitik_live_checks),
            second_look=timedelta(seconds=min(15.0, settings.minitik_live_checks[0] / 10)),
            window=None if resident else timedelta(seconds=settings.minitik_window_seconds),
            idle=timedelta(seconds=settings.minitik_idle_seconds),
            uploads_at_once=settings.minitik_concurrent_uploads,
            uploads_total=settings.minitik_concurrent_uploads_total,
            uploads_per_account=settings.minitik_concurrent_uploads_per_account,
            claim_limit=settings.minitik_claim_limit,
            max_skew=timedelta(seconds=settings.minitik_max_skew_seconds),
            spool=Path(settings.minitik_home) / "spool",
            hold=timedelta(seconds=settings.minitik_hold_seconds),
            refresh_min=timedelta(seconds=settings.minitik_refresh_min_seconds),
        )

    def confirm_delay(self, polls: int) -> timedelta:
        """Return how long to wait before the next confirmation after `polls` of them."""
        return self.confirm_ladder[min(polls, len(self.confirm_ladder) - 1)]
