"""What is due within the next day and will not make it, told while there is time.

Everything that a post needs is looked at beforehand: its content and file, the platform's rules, the
account, its permissions and token, the platform's own word, our budgets, breakers and pauses. Nothing
is changed and nothing is published; a platform that cannot be asked is no risk by itself.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from minitik_dagster.accounts import token_health
from minitik_dagster.accounts.directory import list_accounts
from minitik_dagster.db.instance import is_ours
from minitik_dagster.db.models import Account, Content, Publication
from minitik_dagster.db.types import AccountStatus, Platform
from minitik_dagster.errors import ConfigurationError, DependencyDownError
from minitik_dagster.media.facts import MediaFacts
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.media.verdicts import judge
from minitik_dagster.publishing import pauses
from minitik_dagster.resilience.breaker import read_states
from minitik_dagster.resilience.limits_table import LIMITS, budgets
from minitik_dagster.scheduling.foresight import look_ahead
from minitik_dagster.scheduling.rules import Examination, Target, database_now
from minitik_dagster.scheduling.schedule import DEFAULT_MAX_LATENESS
from minitik_dagster.settings import LimitName, Settings

HORIZON: Final = timedelta(hours=24)
_MOST: Final = 5_000
# Each is asked of a platform that counts our calls.
_MOST_ASKED: Final = 200
_ASK_SECONDS: Final = 8.0
_STORE_SECONDS: Final = 5.0
_STAGES: Final = ("scheduled", "preparing", "prepared", "parked", "paused", "held")
# An open breaker closes within minutes: only what is due before that is at risk.
_BREAKER_REACH: Final = timedelta(minutes=10)
_PER_POST: Final[dict[Platform, LimitName]] = {
    Platform.TIKTOK: "tiktok.posts",
    Platform.INSTAGRAM: "instagram.posts",
    Platform.YOUTUBE: "youtube.uploads",
}


@dataclass(frozen=True)
class Risk:
    """One reason why a post may fail or be late; `certain` when it will unless somebody acts."""

    publication_id: str
    account_id: str
    user_id: str
    platform: str
    due_at: datetime
    code: str
    message: str
    fix: str
    certain: bool


@dataclass
class Forecast:
    """What was looked at, and what stands against it, the first due first."""

    until: datetime
    checked: int = 0
    risks: list[Risk] = field(default_factory=list)
    not_asked: int = 0

    @property
    def failing(self) -> set[str]:
        """The publications that will not make it."""
        return {risk.publication_id for risk in self.risks if risk.certain}

    def counts(self) -> dict[str, int]:
        """How many risks there are of each kind."""
        return dict(Counter(risk.code for risk in self.risks))

    def table(self, limit: int = 100) -> str:
        """Return the risks as a Markdown table: ids and reasons, no people."""
        if not self.risks:
            return "Everything that is due will go out, as far as can be told."
        lines = ["| due | publication | platform | code | sure | reason | fix |", "|---" * 7 + "|"]
        for risk in self.risks[:limit]:
            cells = (
                f"{risk.due_at:%Y-%m-%d %H:%M:%S}",
                risk.publication_id,
                risk.platform,
                risk.code,
                "yes" if risk.certain else "no",
                risk.message,
                risk.fix,
            )
            lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
        if len(self.risks) > limit:
            lines.append(f"\n{len(self.risks) - limit} more.")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Due:
    """One post that is due, with all that belongs to it."""

    publication: Publication
    content: Content
    account: Account

    @property
    def due_at(self) -> datetime:
        assert self.publication.due_at is not None
        return self.publication.due_at

    def risk(self, code: str, message: str, fix: str, *, certain: bool = True) -> Risk:
        return Risk(
            self.publication.id,
            self.account.id,
            self.account.user_id,
            self.account.platform.value.lower(),
            self.due_at,
            code,
            message,
            fix,
            certain,
        )


def forecast(engine: Engine, settings: Settings, horizon: timedelta = HORIZON) -> Forecast:
    """Look at everything that is due within `horizon`."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        now = database_now(session)
        seen = Forecast(until=now + horizon)
        due = _due(session, now, seen.until)
        outlived = set(token_health.outlived(session.connection()).ids)
        lacking = {
            item.id: item.capabilities.missing_scopes.get("publish")
            for item in list_accounts(session)
            if item.capabilities.missing_scopes.get("publish")
        }
        paused = {item.scope for item in pauses.list_pauses(session.connection())}
        session.expunge_all()
    seen.checked = len(due)
    for item in due:
        seen.risks.extend(_of_rows(item, outlived, lacking, paused))
    seen.risks.extend(_of_budgets(due, settings))
    seen.risks.extend(_of_breakers(due, settings, now))
    seen.risks.extend(_of_media(due, settings))
    hopeless = seen.failing
    seen.risks.extend(
        _of_platforms(
            engine, settings, [one for one in due if one.publication.id not in hopeless], seen
        )
    )
    seen.risks.sort(key=lambda risk: (risk.due_at, risk.publication_id, risk.code))
    return seen


def _due(session: Session, now: datetime, until: datetime) -> list[_Due]:
    rows = session.execute(
        select(Publication, Content, Account)
        .join(Content, Content.id == Publication.content_id)
        .join(Account, Account.id == Publication.account_id)
        .where(
            Publication.stage.in_(_STAGES), Publication.due_at > now, Publication.due_at <= until
        )
        .order_by(Publication.due_at, Publication.id)
        .limit(_MOST)
    )
    return [_Due(*row) for row in rows]


def _of_rows(
    item: _Due, outlived: set[str], lacking: dict[str, Any], paused: set[str]
) -> Iterator[Risk]:
    account, content, stage = item.account, item.content, item.publication.stage
    platform = account.platform.value.lower()
    if content.deleted_at is not None:
        yield item.risk("content_gone", "its content was deleted", "cancel the post")
    elif content.file_path is None:
        yield item.risk(
            "not_uploaded", "its upload is not complete", "complete it, or cancel the post"
        )
    facts = MediaFacts.from_metadata(content.details)
    if facts is not None:
        for problem in judge(facts, account.platform).problems():
            yield item.risk("media_rejected", problem.message, problem.fix)
    if account.status is not AccountStatus.CONNECTED:
        message = f"its account is {account.status.value}"
        yield item.risk("account", message, "connect it again and release the post")
    elif stage == "held":
        reason = item.publication.hold_reason or "it is held"
        yield item.risk("held", reason, "release it: minitik accounts release, or the API")
    elif account.id in lacking:
        scopes = ", ".join(lacking[account.id])
        yield item.risk("scopes", f"not granted: {scopes}", "connect the account and grant it")
    elif account.id in outlived:
        message = "its account's token, or what renews it, ends before the post"
        yield item.risk("token", message, "connect the account again before then")
    covering = {"all", f"platform:{platform}", f"account:{account.id}"} & paused
    if covering:
        scope = min(covering)
        fix = "minitik queues resume, with the same scope"
        yield item.risk("paused", f"an operator paused {scope}", fix, certain=False)


def _of_budgets(due: Sequence[_Due], settings: Settings) -> Iterator[Risk]:
    """Count what falls into each window of the posts' own limit; what is beyond it waits."""
    allowed = budgets(settings)
    used: Counter[tuple[str, int]] = Counter()
    for item in due:
        name = _PER_POST[item.account.platform]
        limit = LIMITS[name]
        subject = "app" if limit.per_app else item.account.id
        window, ends_at = limit.window(item.due_at.timestamp())
        used[f"{name} {subject}", window] += 1
        if used[f"{name} {subject}", window] > allowed[name]:
            late = timedelta(seconds=ends_at - item.due_at.timestamp())
            yield item.risk(
                "budget",
                f"{allowed[name]} posts are planned before it in its window of {name}: it is late by up "
                f"to {int(late.total_seconds() // 60)} minutes",
                "schedule it for another time, or raise MINITIK_LIMITS",
                certain=late > _lateness(item),
            )


def _of_breakers(due: Sequence[_Due], settings: Settings, now: datetime) -> Iterator[Risk]:
    if settings.redis_url is None:
        return
    try:
        states = read_states(settings.redis_url.get_secret_value())
    except DependencyDownError:
        return
    down = {state.platform for state in states if state.state != "CLOSED"}
    for item in due:
        platform = item.account.platform.value.lower()
        if platform in down and item.due_at <= now + _BREAKER_REACH:
            message = f"{platform}'s circuit breaker is open"
            yield item.risk(
                "breaker", message, "nothing: it goes out when it closes", certain=False
            )


def _of_media(due: Sequence[_Due], settings: Settings) -> Iterator[Risk]:
    """Ask the bucket for each file once."""
    try:
        store = ObjectStore.from_settings(settings, patience=_STORE_SECONDS)
    except ConfigurationError:
        return
    keys = sorted({item.content.file_path for item in due if item.content.file_path})
    missing: dict[str, str] = {}

    def ask(key: str) -> None:
        try:
            if store.head(key) is None:
                missing[key] = "its file is not in the bucket"
        except DependencyDownError as error:
            missing[key] = f"its file cannot be reached: {error}"

    store.warm()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, keys))
    for item in due:
        if item.content.file_path in missing and item.content.deleted_at is None:
            message = missing[item.content.file_path]
            yield item.risk("media", message, "upload it again; minitik doctor")


def _of_platforms(
    engine: Engine, settings: Settings, due: Sequence[_Due], seen: Forecast
) -> Iterator[Risk]:
    """Ask the platforms, once for posts of one account with the same options."""
    groups: dict[tuple[str, str], list[_Due]] = defaultdict(list)
    for item in due:
        options = {k: v for k, v in (item.publication.options or {}).items() if k != "caption"}
        groups[item.account.id, repr(sorted(options.items()))].append(item)
    with engine.connect() as connection:
        ours = is_ours(connection, settings)
    for number, group in enumerate(groups.values()):
        first = group[0]
        if number >= _MOST_ASKED:
            seen.not_asked += len(group)
            continue
        target = Target(first.account, dict(first.publication.options or {}))
        found = look_ahead(
            engine,
            settings,
            Examination(content=first.content, targets=[target]),
            first.due_at,
            _lateness(first),
            seconds=_ASK_SECONDS,
            renew=ours,
        )
        seen.not_asked += (
            len(group) if any("could not be asked" in w.message for w in found.warnings) else 0
        )
        for problem in found.refused:
            for item in group:
                yield item.risk("platform", problem.message, problem.fix)


def _lateness(item: _Due) -> timedelta:
    seconds = item.publication.max_lateness
    return timedelta(seconds=seconds) if seconds is not None else DEFAULT_MAX_LATENESS
