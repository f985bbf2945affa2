"""What a publication will say and allow: request options merged, completed and checked per account.

Merged: the platform's options, then the account's, the last wins. Caption = option, else the content's
description, else its title. TikTok's privacy = option, else what its creator chose at connecting,
never a default of ours: TikTok's guidelines forbid a preselected one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from minitik_dagster.db.models import Account, Content
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import FieldProblem, InvalidInputError
from minitik_dagster.platforms.limits import (
    INSTAGRAM_CAPTION_CHARACTERS,
    TIKTOK_TITLE_UTF16_UNITS,
    YOUTUBE_DESCRIPTION_BYTES,
    YOUTUBE_TAGS_CHARACTERS,
    YOUTUBE_TITLE_CHARACTERS,
)
from minitik_dagster.platforms.options import OPTIONS, TikTokOptions, check_options
from minitik_dagster.scheduling.honoured import dishonoured

_ACCOUNTS: Final = "accounts"
_PROVIDERS: Final = {platform.value.lower(): platform for platform in Platform}
_TIKTOK_PRIVACY: Final = (
    "PUBLIC_TO_EVERYONE",
    "MUTUAL_FOLLOW_FRIENDS",
    "FOLLOWER_OF_CREATOR",
    "SELF_ONLY",
)
_INSTAGRAM_HASHTAGS: Final = 30
_INSTAGRAM_MENTIONS: Final = 20


@dataclass
class Choices:
    """One account's resolved options, which of them were `chosen` by name, and what is wrong with them."""

    options: dict[str, Any] = field(default_factory=dict)
    chosen: frozenset[str] = frozenset()
    invalid: list[FieldProblem] = field(default_factory=list)
    refused: list[FieldProblem] = field(default_factory=list)


def check_shape(options: Mapping[str, Any], account_ids: tuple[str, ...]) -> list[FieldProblem]:
    """Check what stands in `options` besides the platforms' own: known names, objects, plain text."""
    problems = list(_unstorable("options", options))
    for name, value in options.items():
        if name not in {*_PROVIDERS, _ACCOUNTS}:
            known = ", ".join((*_PROVIDERS, _ACCOUNTS))
            problems.append(FieldProblem(f"options.{name}", "is not known", f"use: {known}"))
        elif not isinstance(value, Mapping):
            problems.append(
                FieldProblem(
                    f"options.{name}", "must be an object", "send an object or leave it out"
                )
            )
    per_account = options.get(_ACCOUNTS)
    for account_id, value in (per_account if isinstance(per_account, Mapping) else {}).items():
        path = f"options.accounts.{account_id}"
        if account_id not in account_ids:
            problems.append(
                FieldProblem(
                    path, "is not among accountIds, so it would not be honoured", "correct the id"
                )
            )
        elif not isinstance(value, Mapping):
            problems.append(FieldProblem(path, "must be an object", "send an object"))
    return problems


def unused_platforms(options: Mapping[str, Any], chosen: set[Platform]) -> list[str]:
    """Return the providers that have options here but no account among the chosen ones."""
    return [
        name for name, platform in _PROVIDERS.items() if name in options and platform not in chosen
    ]


def resolve_options(options: Mapping[str, Any], content: Content, account: Account) -> Choices:
    """Return the options of one publication as they are stored, complete with caption and title."""
    platform = account.platform
    given = {**_part(options, platform.value.lower()), **_part(options, _ACCOUNTS, account.id)}
    choices = Choices()
    try:
        check_options(platform, given)
    except InvalidInputError as error:
        choices.invalid.extend(error.problems)
        return choices
    model = OPTIONS[platform].model_validate(given)
    resolved = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    title = _text(given.get("title")) or content.title
    shown = content.title if platform is Platform.YOUTUBE else title
    resolved["caption"] = _text(given.get("caption")) or _text(content.description) or shown
    if platform is Platform.YOUTUBE:
        resolved["title"] = title
    if isinstance(model, TikTokOptions) and model.privacy is None:
        privacy = default_privacy(account)
        if privacy is None:
            choices.refused.append(_privacy_missing(account))
        else:
            resolved["privacy"] = privacy
    choices.options, choices.chosen = resolved, _chosen(model)
    choices.refused.extend(dishonoured(platform, resolved, content))
    choices.refused.extend(_text_problems(platform, resolved))
    return choices


def _chosen(model: BaseModel) -> frozenset[str]:
    fields = type(model).model_fields
    return frozenset(str(fields[name].alias) for name in model.model_fields_set)


def default_privacy(account: Account) -> str | None:
    """Return the privacy that a TikTok account's creator chose at connecting, if any."""
    details = account.details if isinstance(account.details, Mapping) else {}
    chosen = _part(details, "tiktok").get("defaultPrivacy")
    return chosen if chosen in _TIKTOK_PRIVACY else None


def _part(options: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    found: Any = options
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _text(value: object) -> str | None:
    """A text that says something; blank counts as absent."""
    return value if isinstance(value, str) and value.strip() else None


def _privacy_missing(account: Account) -> FieldProblem:
    return FieldProblem(
        "options.tiktok.privacy",
        f"is missing, and TikTok account {account.id} has no stored default",
        f"set options.tiktok.privacy to one of: {', '.join(_TIKTOK_PRIVACY)}",
    )


def _text_problems(platform: Platform, resolved: Mapping[str, Any]) -> Iterator[FieldProblem]:
    """Hold the texts against the platform's limits; figures from platforms.limits."""
    provider, caption = platform.value.lower(), str(resolved["caption"])
    where = f"options.{provider}.caption"

    def beyond(field_name: str, found: int, limit: int, unit: str) -> Iterator[FieldProblem]:
        if found > limit:
            message = f"{platform.value}: has {found} {unit}, the limit is {limit}"
            yield FieldProblem(field_name, message, f"set a shorter {field_name}")

    if platform is Platform.TIKTOK:
        units = len(caption.encode("utf-16-le")) // 2
        yield from beyond(where, units, TIKTOK_TITLE_UTF16_UNITS, "UTF-16 units")
    elif platform is Platform.INSTAGRAM:
        yield from beyond(where, len(caption), INSTAGRAM_CAPTION_CHARACTERS, "characters")
        words = caption.split()
        hashtags = sum(word.startswith("#") for word in words)
        yield from beyond(where, hashtags, _INSTAGRAM_HASHTAGS, "hashtags")
        mentions = sum(word.startswith("@") for word in words)
        yield from beyond(where, mentions, _INSTAGRAM_MENTIONS, "mentions")
    else:
        title = str(resolved["title"])
        yield from beyond(
            "options.youtube.title", len(title), YOUTUBE_TITLE_CHARACTERS, "characters"
        )
        yield from beyond(where, len(caption.encode()), YOUTUBE_DESCRIPTION_BYTES, "bytes")
        # Commas between tags count, and a tag with spaces is counted with its quotes.
        tags = resolved.get("tags") or []
        length = sum(len(tag) + 2 * (" " in tag) for tag in tags) + max(0, len(tags) - 1)
        yield from beyond("options.youtube.tags", length, YOUTUBE_TAGS_CHARACTERS, "characters")
        for name, value in (("options.youtube.title", title), (where, caption)):
            if "<" in value or ">" in value:
                yield FieldProblem(name, "YOUTUBE: may not hold < or >", f"set {name} without them")


def _unstorable(path: str, value: object) -> Iterator[FieldProblem]:
    """Find text that no database and no platform takes: NUL, and halves of a surrogate pair."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if any(_unstorable(path, name)):
                yield FieldProblem(path, "has a name with an invalid character", "correct the name")
            else:
                yield from _unstorable(f"{path}.{name}", item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _unstorable(path, item)
    elif isinstance(value, str) and (
        "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value)
    ):
        yield FieldProblem(path, "holds an invalid character", "remove NUL and lone surrogates")
