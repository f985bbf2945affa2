"""A person's contents: find one, list them page by page. Deleted ones are not there."""

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Select, exists, func, literal, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from minitik_dagster.db.models import Content, Publication
from minitik_dagster.db.types import ContentStatus, Platform, from_db
from minitik_dagster.errors import FieldProblem, InvalidInputError, NotFoundError
from minitik_dagster.media.uploads import is_plain_id

EXACT_TOTAL_UP_TO: Final = 10_000
LIMIT_MAX: Final = 100
LIMIT_DEFAULT: Final = 20


class SortBy(StrEnum):
    """What a listing is sorted by; ties are broken by id."""

    CREATED_AT = "createdAt"
    UPDATED_AT = "updatedAt"
    TITLE = "title"


class SortOrder(StrEnum):
    """Newest or oldest first."""

    ASC = "asc"
    DESC = "desc"


_COLUMNS: Final[dict[SortBy, InstrumentedAttribute[Any]]] = {
    SortBy.CREATED_AT: Content.created_at,
    SortBy.UPDATED_AT: Content.updated_at,
    SortBy.TITLE: Content.title,
}


@dataclass(frozen=True)
class Filter:
    """Which contents, in which order; `search` looks in title and description, case-insensitive."""

    status: ContentStatus | None = None
    platform: Platform | None = None
    search: str | None = None
    sort_by: SortBy = SortBy.CREATED_AT
    sort_order: SortOrder = SortOrder.DESC
    page: int = 1
    limit: int = LIMIT_DEFAULT
    cursor: str | None = None


@dataclass(frozen=True)
class Page:
    """One page. `total` is exact up to 10,000, beyond that a lower bound."""

    items: Sequence[Content]
    total: int
    total_is_lower_bound: bool
    page: int
    limit: int
    next_cursor: str | None

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return math.ceil(self.total / self.limit)


def get_content(session: Session, user_id: str, content_id: str, *, lock: bool = False) -> Content:
    """Return the user's content; NotFoundError for one that is not there or somebody else's.

    With `lock` it is locked as scheduling and the engine lock it, and read anew.
    """
    content = None
    if is_plain_id(content_id):
        content = session.get(
            Content, content_id, with_for_update=lock or None, populate_existing=lock
        )
    if content is None or content.user_id != user_id or content.deleted_at is not None:
        raise NotFoundError("There is no such content.")
    return content


def list_contents(session: Session, user_id: str, wanted: Filter) -> Page:
    """Return a page of the user's contents; InvalidInputError for a cursor that is not one."""
    query = _filtered(user_id, wanted)
    total = session.scalar(
        select(func.count()).select_from(query.limit(EXACT_TOTAL_UP_TO + 1).subquery())
    )
    total = total or 0
    column = _COLUMNS[wanted.sort_by]
    ascending = wanted.sort_order is SortOrder.ASC
    order = (column.asc(), Content.id.asc()) if ascending else (column.desc(), Content.id.desc())
    ordered = query.with_only_columns(Content).order_by(*order).limit(wanted.limit + 1)
    if wanted.cursor is not None:
        value, content_id = _read_cursor(wanted)
        # Bound with the column's own type: a bare instant would be compared in the server's zone.
        after = tuple_(literal(value, column.type), literal(content_id, Content.id.type))
        place = tuple_(column, Content.id)
        ordered = ordered.where(place > after if ascending else place < after)
    else:
        ordered = ordered.offset((wanted.page - 1) * wanted.limit)
    rows = session.scalars(ordered).all()
    items = rows[: wanted.limit]
    more = len(rows) > wanted.limit
    return Page(
        items=items,
        total=min(total, EXACT_TOTAL_UP_TO),
        total_is_lower_bound=total > EXACT_TOTAL_UP_TO,
        page=wanted.page,
        limit=wanted.limit,
        next_cursor=_write_cursor(wanted, items[-1]) if more else None,
    )


def _filtered(user_id: str, wanted: Filter) -> Select[Any]:
    query = select(Content.id).where(Content.user_id == user_id, Content.deleted_at.is_(None))
    if wanted.status is not None:
        query = query.where(Content.status == wanted.status)
    if wanted.platform is not None:
        query = query.where(
            exists().where(
                Publication.content_id == Content.id, Publication.platform == wanted.platform
            )
        )
    if wanted.search:
        query = query.where(
            or_(
                Content.title.icontains(wanted.search, autoescape=True),
                Content.description.icontains(wanted.search, autoescape=True),
            )
        )
    return query


def _write_cursor(wanted: Filter, last: Content) -> str:
    value = getattr(last, _COLUMNS[wanted.sort_by].key)
    text = value.isoformat() if isinstance(value, datetime) else value
    return base64.urlsafe_b64encode(json.dumps([wanted.sort_by, text, last.id]).encode()).decode()


def _read_cursor(wanted: Filter) -> tuple[Any, str]:
    try:
        sort_by, value, content_id = json.loads(
            base64.urlsafe_b64decode((wanted.cursor or "").encode())
        )
        if sort_by != wanted.sort_by or not isinstance(content_id, str):
            raise ValueError("another order")
        if wanted.sort_by is not SortBy.TITLE:
            instant = datetime.fromisoformat(value)
            value = instant if instant.tzinfo else from_db(instant)
    except (ValueError, TypeError):
        raise InvalidInputError(
            FieldProblem(
                "cursor",
                "The cursor is not of this listing.",
                "Use nextCursor of the page before, with the same sortBy.",
            )
        ) from None
    return value, content_id
