"""What the platforms say beforehand: asked live, read-only, never in a transaction.

TikTok's creator_info (privacy levels, longest video, what the creator switched off), Instagram's
content_publishing_limit ("IG User Content Publishing Limit": quota_usage of quota_total in a moving
day), and the pictures that options name by URL. A platform that cannot be asked is a warning: the
engine asks again before it sends.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from minitik_dagster.accounts.tokens import open_token, refresh_token
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.engine import make_async_engine
from minitik_dagster.db.migrate import require_world
from minitik_dagster.db.models import Account, Content
from minitik_dagster.db.types import AccountStatus, Platform, from_db
from minitik_dagster.errors import (
    AuthExpiredError,
    FieldProblem,
    MinitikError,
    PlatformError,
    RejectedError,
    RevokedError,
)
from minitik_dagster.media.facts import MediaFacts
from minitik_dagster.outbound import Outbound
from minitik_dagster.platforms.pictures import (
    INSTAGRAM_COVER,
    YOUTUBE_THUMBNAIL,
    PictureLimits,
    fetch_picture,
)
from minitik_dagster.platforms.port import Outlook, Post
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.resilience.limiter import Limiter
from minitik_dagster.resilience.limits_table import budgets
from minitik_dagster.scheduling.quota import Usage, quota_problem, usage_of
from minitik_dagster.scheduling.rules import MAX_ACCOUNTS, Examination, Target, Wish, examine, is_id
from minitik_dagster.scheduling.upload_day import day_problem
from minitik_dagster.settings import Settings

_log = structlog.get_logger(__name__)
# What the platforms say today holds for what is due soon; Instagram's quota is one of a moving day.
HORIZON: Final = timedelta(hours=24)
# How long a caller waits for the platforms at most.
VALIDATE_SECONDS: Final = 8.0
SCHEDULE_SECONDS: Final = 3.0
# Publish now is on its way: the engine asks the same again within a second.
NOW_SECONDS: Final = 0.8
_AT_ONCE: Final = 8
_LATER: Final = "nothing to do: it is asked again before the post is sent"
_ASKED: Final = frozenset({Platform.TIKTOK, Platform.INSTAGRAM})
_WHAT_TO_ASK: Final = text(
    """
    SELECT statement_timestamp() AT TIME ZONE 'UTC' AS now, EXISTS (
        SELECT FROM accounts
        WHERE id = ANY(:ids) AND "userId" = :user_id AND platform = 'YOUTUBE'
    ) AS uploads
    """
)
_PICTURES: Final = (("coverUrl", INSTAGRAM_COVER), ("thumbnailUrl", YOUTUBE_THUMBNAIL))


@dataclass
class Foresight:
    """What stands against a wish by the platforms' present word, and what to know."""

    refused: list[FieldProblem] = field(default_factory=list)
    warnings: list[FieldProblem] = field(default_factory=list)

    def add_to(self, found: Examination) -> None:
        """Put the findings beside those of the rules, each once."""
        found.refused.extend(item for item in self.refused if item not in found.refused)
        found.warnings.extend(item for item in self.warnings if item not in found.warnings)


def look_ahead(
    engine: Engine,
    settings: Settings,
    found: Examination,
    due_at: datetime,
    max_lateness: timedelta,
    *,
    seconds: float,
    ask: bool = True,
    renew: bool = False,
) -> Foresight:
    """Ask for what an examination found fit to be asked about, within `seconds`.

    `ask` False looks at the pictures only. `renew` refreshes an access token that has ended, once, as
    the engine would; without it nothing is changed at all.
    """
    seen = Foresight()
    content = found.content
    if content is None or not found.targets:
        return seen
    targets = [one for one in found.targets if one.account.status is AccountStatus.CONNECTED]
    asked = [one for one in targets if ask and one.account.platform in _ASKED and one.options]
    pictures = {
        (one.options[name], limits)
        for one in targets
        for name, limits in _PICTURES
        if one.options.get(name)
    }
    if not asked and not pictures:
        return seen
    ids = [one.account.id for one in asked if one.account.platform is Platform.INSTAGRAM]
    vault, loopback = None, False
    usage: Mapping[str, Usage] = {}
    try:
        with Session(engine) as session, session.begin():
            require_world(session.connection(), settings.platform_world)
            usage = usage_of(session, ids, due_at)
        loopback = settings.platform_world == "sandbox"
        vault = Vault.from_settings(settings)
    except MinitikError as error:
        # What is not fit to ask the platforms from may still look at a picture.
        seen.warnings += [_not_asked(one.account, str(error)) for one in asked]
    latest = due_at + max_lateness
    outbound = Outbound(loopback=loopback)
    look = _Look(settings, outbound, vault, content, due_at, latest, usage, seconds, renew)
    asyncio.run(look.run(asked if vault else [], pictures, seen))
    return seen


def foresee(
    engine: Engine,
    settings: Settings,
    wish: Wish,
    due_at: datetime,
    max_lateness: timedelta,
    *,
    seconds: float = SCHEDULE_SECONDS,
) -> Foresight:
    """Look ahead for a wish that is about to be scheduled, before the transaction that does it.

    Platforms are asked where it is due within HORIZON. Empty where the rules refuse the wish anyway.
    """
    with Session(engine, expire_on_commit=False) as session, session.begin():
        ids = [item for item in wish.account_ids[:MAX_ACCOUNTS] if is_id(item)]
        asked = {"user_id": wish.user_id, "ids": ids}
        now, uploads = session.execute(_WHAT_TO_ASK, asked).one()
        soon = due_at - from_db(now) <= HORIZON
        if not (soon or uploads or _names_pictures(wish.options)):
            # Most posts: the rules are applied once, in the transaction that schedules.
            return Foresight()
        found = examine(session, wish, due_at)
        session.expunge_all()
    if found.errors:
        return Foresight()
    seen = look_ahead(
        engine, settings, found, due_at, max_lateness, seconds=seconds, ask=soon, renew=True
    )
    seen.refused += count_uploads(engine, settings, found, due_at)
    return seen


def _names_pictures(options: Mapping[str, Any]) -> bool:
    """Whether a picture of somebody's web server stands anywhere in the options."""
    return any(options.get(name) for name, _ in _PICTURES) or any(
        _names_pictures(part) for part in options.values() if isinstance(part, Mapping)
    )


def count_uploads(
    engine: Engine, settings: Settings, found: Examination, due_at: datetime
) -> list[FieldProblem]:
    """Say so when the targets' YouTube uploads do not fit into the day that they are new in."""
    wanted = sum(one.account.platform is Platform.YOUTUBE for one in found.targets)
    if not wanted:
        return []
    with Session(engine) as session, session.begin():
        full = day_problem(session, budgets(settings)["youtube.uploads"], due_at, wanted)
    return [full] if full else []


def _named(account: Account) -> str:
    return f"{account.platform.value} account {account.id}"


def _not_asked(account: Account, reason: str) -> FieldProblem:
    return FieldProblem("accountIds", f"{_named(account)} could not be asked: {reason}", _LATER)


@dataclass(frozen=True)
class _Look:
    settings: Settings
    outbound: Outbound
    vault: Vault | None
    content: Content
    due_at: datetime
    latest: datetime
    usage: Mapping[str, Usage]
    seconds: float
    renew: bool

    async def run(
        self,
        targets: Sequence[Target],
        pictures: set[tuple[str, PictureLimits]],
        seen: Foresight,
    ) -> None:
        redis_url = self.settings.redis_url
        limiter = Limiter(
            redis_url.get_secret_value() if redis_url else None,
            budgets=budgets(self.settings),
            sleep=_no_sleep,
        )
        room = asyncio.Semaphore(_AT_ONCE)
        async with AsyncExitStack() as stack:
            clients = await stack.enter_async_context(PlatformClients(self.settings))
            await stack.enter_async_context(aclosing(limiter))
            await asyncio.gather(
                *(self._account(one, clients, limiter, room, seen) for one in targets),
                *(self._picture(url, limits, room, seen) for url, limits in pictures),
            )

    async def _account(
        self,
        target: Target,
        clients: PlatformClients,
        limiter: Limiter,
        room: asyncio.Semaphore,
        seen: Foresight,
    ) -> None:
        account = target.account
        try:
            async with asyncio.timeout(self.seconds), room:
                outlook = await self._ask(target, clients, limiter)
        except (RejectedError, RevokedError) as error:
            message = f"{_named(account)}: {error.reason}"
            seen.refused.append(FieldProblem("accountIds", message, error.fix))
        except PlatformError as error:
            seen.warnings.append(_not_asked(account, error.reason))
        except TimeoutError:
            seen.warnings.append(_not_asked(account, f"no answer within {self.seconds:g} s"))
        except (MinitikError, DBAPIError) as error:
            _log.warning("foresight.failed", account=account.id, reason=type(error).__name__)
            seen.warnings.append(_not_asked(account, "its access token could not be read"))
        else:
            for refused, problem in self._findings(target, outlook):
                (seen.refused if refused else seen.warnings).append(problem)

    async def _ask(self, target: Target, clients: PlatformClients, limiter: Limiter) -> Outlook:
        account = target.account
        client = clients.client(account.platform)
        if account.platform is Platform.TIKTOK:
            wait = await limiter.reserve(account.platform, account.id, "creator_info")
            if wait:
                raise PlatformError("our budget of creator_info calls is used up for this minute")
        assert self.vault is not None
        token = open_token(self.vault, account.id, account.access_token, account.token_expires_at)
        post = self._post(target)
        try:
            return await client.foresee(post, token.access_token)
        except AuthExpiredError:
            if not self.renew:
                raise PlatformError("its access token has ended and is to be renewed") from None
        engine = make_async_engine(self.settings.require_database_url(), pool_size=1)
        try:
            token = await refresh_token(
                engine, self.vault, client, account.id, stale_version=token.version
            )
        finally:
            await engine.dispose()
        return await client.foresee(post, token.access_token)

    def _post(self, target: Target) -> Post:
        facts = MediaFacts.from_metadata(self.content.details)
        seconds = facts.duration if facts is not None else self.content.duration
        return Post(
            publication_id="",
            account_id=target.account.id,
            platform_account_id=target.account.platform_account_id,
            title=str(target.options.get("title") or self.content.title),
            caption=str(target.options.get("caption") or ""),
            options=target.options,
            due_at=self.due_at,
            revision=0,
            marker="",
            duration=timedelta(seconds=seconds) if seconds else None,
        )

    def _findings(self, target: Target, outlook: Outlook) -> Iterator[tuple[bool, FieldProblem]]:
        account = target.account
        provider = account.platform.value.lower()
        for notice in outlook.notices:
            where = f"options.{provider}.{notice.option}" if notice.option else "accountIds"
            # Asked for by name, and not to be had: that is refused, a default is only told of.
            asked = notice.option in target.chosen
            yield (
                notice.refused or asked,
                FieldProblem(where, f"{_named(account)}: {notice.message}", notice.fix),
            )
        if outlook.quota is not None:
            usage = self.usage.get(account.id, Usage())
            found = quota_problem(outlook.quota, usage, self.due_at, self.latest)
            if found is not None:
                message = f"{_named(account)} {found.message}"
                yield found.certain, FieldProblem("accountIds", message, found.fix)

    async def _picture(
        self, url: str, limits: PictureLimits, room: asyncio.Semaphore, seen: Foresight
    ) -> None:
        try:
            async with room:
                await fetch_picture(self.outbound, url, limits, seconds=self.seconds)
        except RejectedError as error:
            text = error.reason.removeprefix(f"{limits.option}: ")
            seen.refused.append(FieldProblem(limits.option, text, error.fix))
        except PlatformError as error:
            text = error.reason.removeprefix(f"{limits.option}: ")
            seen.warnings.append(FieldProblem(limits.option, text, error.fix))


async def _no_sleep(_seconds: float) -> Any:
    """A caller waits for the answer: the slow-down of a nearly used-up budget is the engine's."""
