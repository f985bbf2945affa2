"""May this content go to these accounts? Every rule at once, nothing changed.

The same examination stands before scheduling, publishing now and `validate`; only what is done with
the answer differs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from minitik_dagster.db.models import Account, Content
from minitik_dagster.db.types import AccountStatus, from_db
from minitik_dagster.errors import (
    FieldProblem,
    InvalidInputError,
    NotFoundError,
    RuleRefusedError,
)
from minitik_dagster.media.facts import MediaFacts
from minitik_dagster.media.verdicts import judge
from minitik_dagster.platforms.limits import MEDIA_LIMITS
from minitik_dagster.scheduling.choices import check_shape, resolve_options, unused_platforms
from minitik_dagster.scheduling.duplicates import duplicates
from minitik_dagster.scheduling.tiers import pending_problem

MAX_ACCOUNTS: Final = 100
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ReferenceNotFoundError(NotFoundError):
    """An id in the request names nothing, or nothing of the caller's; `problems` say which field."""

    def __init__(self, *problems: FieldProblem) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{p.field}: {p.message} {p.fix}" for p in problems))


@dataclass(frozen=True)
class Wish:
    """What a caller wants published where."""

    user_id: str
    content_id: str
    account_ids: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    allow_duplicate: bool = False


@dataclass
class Target:
    """One account, the resolved options of its publication, and which of them were chosen by name."""

    account: Account
    options: dict[str, Any]
    chosen: frozenset[str] = frozenset()


@dataclass
class Examination:
    """All that was found; `content` is None when there is no such content of the caller's."""

    content: Content | None = None
    targets: list[Target] = field(default_factory=list)
    missing: list[FieldProblem] = field(default_factory=list)
    invalid: list[FieldProblem] = field(default_factory=list)
    refused: list[FieldProblem] = field(default_factory=list)
    warnings: list[FieldProblem] = field(default_factory=list)

    @property
    def errors(self) -> list[FieldProblem]:
        """Everything that stands against it."""
        return [*self.invalid, *self.missing, *self.refused]

    def require(self) -> Content:
        """Return the content if nothing stands against it.

        Raises InvalidInputError, ReferenceNotFoundError or RuleRefusedError with all of its kind.
        """
        if self.invalid:
            raise InvalidInputError(*self.invalid)
        if self.missing:
            raise ReferenceNotFoundError(*self.missing)
        if self.refused:
            raise RuleRefusedError(*self.refused)
        assert self.content is not None
        return self.content


def database_now(session: Session) -> datetime:
    """Return PostgreSQL's present instant in whole milliseconds: the one clock (engine.md R10)."""
    now = from_db(
        session.execute(text("SELECT statement_timestamp() AT TIME ZONE 'UTC'")).scalar_one()
    )
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def is_id(value: str) -> bool:
    """Whether a text can be an id at all; what cannot is not looked for."""
    return _ID.fullmatch(value) is not None


def find_content(session: Session, user_id: str, content_id: str) -> Content | None:
    """Return the caller's content, not deleted; None alike for unknown and foreign ids."""
    if not is_id(content_id):
        return None
    return session.scalars(
        select(Content).where(
            Content.id == content_id, Content.user_id == user_id, Content.deleted_at.is_(None)
        )
    ).one_or_none()


def examine(session: Session, wish: Wish, due_at: datetime) -> Examination:
    """Apply every rule to a wish; changes nothing."""
    found = Examination()
    _check_account_ids(wish, found)
    found.invalid.extend(check_shape(wish.options, wish.account_ids))
    found.content = find_content(session, wish.user_id, wish.content_id)
    if found.content is None:
        found.missing.append(
            FieldProblem(
                "contentId",
                f"no content {_short(wish.content_id)}",
                "use an id from POST /api/content",
            )
        )
    accounts = _find_accounts(session, wish, found)
    if found.content is None:
        return found
    _check_complete(found.content, found)
    for account in accounts:
        _check_account(account, due_at, found)
    if not found.invalid:
        _resolve(wish, found.content, accounts, found)
    _check_media(found.content, accounts, found)
    # Said in any case; it stands against the wish only where it was not allowed.
    told = found.warnings if wish.allow_duplicate else found.refused
    captions = {target.account.id: _caption(target) for target in found.targets}
    told.extend(duplicates(session, found.content, [a.id for a in accounts], captions, due_at))
    if (problem := pending_problem(session, wish.user_id)) is not None:
        found.refused.append(problem)
    return found


def _caption(target: Target) -> str:
    return str(target.options.get("caption") or "")


def _short(value: str) -> str:
    return repr(value[:64])


def _check_account_ids(wish: Wish, found: Examination) -> None:
    ids = wish.account_ids
    if not ids:
        found.invalid.append(
            FieldProblem(
                "accountIds", "is an empty list", "name at least one account of GET /api/accounts"
            )
        )
    elif len(ids) > MAX_ACCOUNTS:
        found.invalid.append(
            FieldProblem("accountIds", f"has {len(ids)} entries", f"name {MAX_ACCOUNTS} at most")
        )
    doubled = sorted({item for item in ids if ids.count(item) > 1})
    if doubled:
        names = ", ".join(_short(item) for item in doubled[:5])
        found.invalid.append(
            FieldProblem("accountIds", f"names {names} more than once", "name each account once")
        )


def _find_accounts(session: Session, wish: Wish, found: Examination) -> list[Account]:
    asked = [item for item in dict.fromkeys(wish.account_ids[:MAX_ACCOUNTS]) if is_id(item)]
    rows = session.scalars(
        select(Account).where(Account.user_id == wish.user_id, Account.id.in_(asked))
    )
    by_id = {account.id: account for account in rows}
    for index, item in enumerate(wish.account_ids[:MAX_ACCOUNTS]):
        if item not in by_id:
            found.missing.append(
                FieldProblem(
                    f"accountIds.{index}", f"no account {_short(item)}", "use GET /api/accounts"
                )
            )
    return [by_id[item] for item in asked if item in by_id]


def _check_complete(content: Content, found: Examination) -> None:
    if content.file_path is None:
        found.refused.append(
            FieldProblem(
                "contentId",
                "the upload of this content is not complete",
                f"finish it: POST /api/content/upload/{content.id}/complete",
            )
        )


def _check_account(account: Account, due_at: datetime, found: Examination) -> None:
    name = f"{account.platform.value} account {account.id}"
    if account.status is not AccountStatus.CONNECTED:
        found.refused.append(
            FieldProblem(
                "accountIds",
                f"{name} is {account.status.value}",
                "reconnect it, or leave it out",
            )
        )
    elif account.token_expires_at is not None and (
        account.refresh_token is None and account.token_expires_at < due_at
    ):
        found.warnings.append(
            FieldProblem(
                "accountIds",
                f"the access of {name} ends before the post is due unless it is renewed",
                "reconnect it if the post is held",
            )
        )


def _resolve(wish: Wish, content: Content, accounts: list[Account], found: Examination) -> None:
    for account in accounts:
        choices = resolve_options(wish.options, content, account)
        # Two accounts of one platform share its options: say each problem once.
        found.invalid.extend(item for item in choices.invalid if item not in found.invalid)
        found.refused.extend(item for item in choices.refused if item not in found.refused)
        found.targets.append(Target(account, choices.options, choices.chosen))
    for name in unused_platforms(wish.options, {account.platform for account in accounts}):
        found.warnings.append(
            FieldProblem(
                f"options.{name}",
                f"no {name.upper()} account is among accountIds, so this has no effect",
                "leave it out",
            )
        )


def _check_media(content: Content, accounts: list[Account], found: Examination) -> None:
    if content.file_path is None:
        return
    facts = MediaFacts.from_metadata(content.details)
    platforms = list(dict.fromkeys(account.platform for account in accounts))
    if facts is None:
        # A content of the old system was never probed: only size and kind are known.
        for platform in platforms:
            limits = MEDIA_LIMITS[platform]
            if content.file_size is not None and content.file_size > limits.max_bytes:
                found.refused.append(
                    FieldProblem(
                        "contentId",
                        f"{platform.value}: fileSize is {content.file_size} bytes, the limit is "
                        f"{limits.max_bytes}",
                        "export it with a lower bitrate or make it shorter",
                    )
                )
        found.warnings.append(
            FieldProblem(
                "contentId", "the file was never probed", "upload it again to have it checked"
            )
        )
        return
    for platform in platforms:
        verdict = judge(facts, platform)
        found.refused.extend(verdict.problems("contentId"))
        found.warnings.extend(
            FieldProblem(
                "contentId", f"{platform.value}: {w.rule} is {w.found}, expected {w.limit}", w.fix
            )
            for w in verdict.warnings
        )
