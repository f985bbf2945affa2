"""YouTube's own daily reports: a channel's true history, back to its first day.

Their days are Pacific days and are kept and labelled as such. The platform's data lag by 48 to 72 hours:
a day without a row has no document, and the trailing days are read again. One call brings a channel's
whole range.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import structlog
from sqlalchemy import text

from minitik_dagster.accounts.tokens import read_token, refresh_token
from minitik_dagster.accounts.vault import VaultError
from minitik_dagster.analytics import live_post_queries as queries
from minitik_dagster.analytics.metrics import REPORT_METRICS
from minitik_dagster.analytics.names import YOUTUBE_DAILY
from minitik_dagster.analytics.snapshots import RunOverError, Snapshots
from minitik_dagster.analytics.store import Document
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import AuthExpiredError, MinitikError, PlatformError
from minitik_dagster.platforms.youtube import YouTubeClient

_log = structlog.get_logger(__name__)
ZONE_NAME: Final = "America/Los_Angeles"
# Read again each day: the platform's data lag, and are corrected for some days.
TRAILING_DAYS: Final = 4
_CALL: Final = "reports"
_ONE: Final = timedelta(days=1)
_AT_ONCE: Final = 4


@dataclass
class ReportsRun:
    """What a run over a range of days did; `documents` are by day."""

    channels: int = 0
    calls: int = 0
    rows: int = 0
    failed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    bad_accounts: dict[str, str] = field(default_factory=dict)
    documents: dict[date, list[Document]] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Return the numbers by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}


async def read_reports(work: Snapshots, first: date, last: date) -> ReportsRun:
    """Read every connected channel's days from `first` to `last`; a bad channel keeps what it had."""
    run, slots = ReportsRun(), asyncio.Semaphore(_AT_ONCE)
    async with work.engine.begin() as connection:
        channels = (await connection.execute(text(queries.CHANNELS))).mappings().all()
    run.channels = len(channels)

    async def one(account_id: str, user_id: str) -> list[Document] | None:
        async with slots:
            return await _channel(work, run, account_id, user_id, first, last)

    found = await asyncio.gather(*(one(row["id"], row["user_id"]) for row in channels))
    days = [first + n * _ONE for n in range((last - first).days + 1)]
    by_day: dict[date, list[Document]] = {day: [] for day in days}
    for documents in found:
        for document in documents or []:
            by_day[document["day"].date()].append(document)
    if run.bad_accounts:
        kept = await asyncio.to_thread(_kept, work, days, list(run.bad_accounts))
        for day, documents in kept.items():
            by_day[day] += documents
    run.documents = {
        day: sorted(rows, key=lambda row: str(row["_id"])) for day, rows in by_day.items()
    }
    return run


def _kept(
    work: Snapshots, days: Sequence[date], accounts: Sequence[str]
) -> Mapping[date, list[Document]]:
    """Return what is there of the channels that could not be read: a failure erases nothing."""
    found: dict[date, list[Document]] = defaultdict(list)
    keys = [f"{day:%Y-%m-%d}" for day in days]
    for row in work.store.documents(YOUTUBE_DAILY, keys, accounts):
        kept = {name: row[name] for name in row if name not in {"partition", "generation"}}
        found[row["day"].date()].append({**kept, "_id": row["accountId"]})
    return found


async def _channel(
    work: Snapshots, run: ReportsRun, account_id: str, user_id: str, first: date, last: date
) -> list[Document] | None:
    """Read one channel, whatever happens to it."""
    try:
        told = await _ask(work, run, account_id, first, last)
    except VaultError:
        outcome = "unreadable_token"
    except PlatformError as error:
        outcome = error.code or error.outcome
    except RunOverError:
        outcome = "left"
    except MinitikError as error:
        outcome = type(error).__name__
    else:
        run.outcomes["read"] += 1
        run.rows += len(told)
        return [_document(account_id, user_id, day, figures) for day, figures in told.items()]
    run.failed += 1
    run.outcomes[outcome] += 1
    run.bad_accounts[account_id] = outcome
    _log.warning("analytics.channel_not_read", account=account_id, outcome=outcome)
    return None


async def _ask(
    work: Snapshots, run: ReportsRun, account_id: str, first: date, last: date
) -> dict[date, dict[str, float]]:
    client = work.client(Platform.YOUTUBE)
    assert isinstance(client, YouTubeClient)
    token = await read_token(work.engine, work.vault, account_id)
    for fresh in (False, True):
        await work.turn(Platform.YOUTUBE, account_id, _CALL)
        run.calls += 1
        try:
            return await client.daily_reports(first, last, token.access_token)
        except AuthExpiredError:
            if fresh:
                raise
            token = await refresh_token(
                work.engine, work.vault, client, account_id, stale_version=token.version
            )
    raise AssertionError("the second round returns or raises")


def _document(account_id: str, user_id: str, day: date, figures: Mapping[str, float]) -> Document:
    return {
        "_id": account_id,
        "accountId": account_id,
        "userId": user_id,
        "day": datetime.combine(day, time(), UTC),
        "zone": ZONE_NAME,
        **{metric.name: figures.get(metric.name) for metric in REPORT_METRICS},
    }
