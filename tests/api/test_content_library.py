"""`GET /api/content`: pages, cursors, filters."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import create_key
from minitik_dagster.api.app import create_app
from minitik_dagster.db.engine import make_engine
from minitik_dagster.db.models import Account, Content, Publication, User
from minitik_dagster.db.types import (
    AccountStatus,
    ContentStatus,
    Platform,
    PublicationStatus,
    SubscriptionTier,
)
from minitik_dagster.settings import Settings

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """The database, besides the API."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def api(
    database_url: str, s3_endpoint: str, s3_bucket: str, engine: Engine
) -> Iterator[TestClient]:
    """A person with 25 contents of three instants, one deleted one, and one published to TikTok."""
    with Session(engine) as session, session.begin():
        for person in ("mia", "noa"):
            session.add(
                User(
                    id=person,
                    email=f"{person}@example.test",
                    subscription_tier=SubscriptionTier.FREE,
                    created_at=START,
                    updated_at=START,
                )
            )
        session.flush()
        key = create_key(session, "mia", "test")
        for number in range(25):
            session.add(_content(f"c{number:02}", "mia", number))
        session.add(_content("gone", "mia", 3, deleted_at=START))
        session.add(_content("foreign", "noa", 3))
        session.add(
            Account(
                id="acc",
                user_id="mia",
                platform=Platform.TIKTOK,
                platform_account_id="tt",
                access_token="sealed",
                status=AccountStatus.CONNECTED,
                connected_at=START,
            )
        )
        session.flush()
        session.add(
            Publication(
                id="pub",
                content_id="c07",
                account_id="acc",
                platform=Platform.TIKTOK,
                status=PublicationStatus.PUBLISHED,
                created_at=START,
                updated_at=START,
            )
        )
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "aws_endpoint_url_s3": s3_endpoint,
            "aws_s3_bucket": s3_bucket,
        }
    )
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8000") as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


def _content(
    content_id: str, user_id: str, number: int, *, deleted_at: datetime | None = None
) -> Content:
    # Three instants only, so that ties must be broken by id.
    created = START + timedelta(hours=number % 3)
    return Content(
        id=content_id,
        user_id=user_id,
        title=f"Walk {number:02} 100%" if number == 4 else f"Walk {number:02}",
        description="by the SEA" if number == 5 else None,
        file_size=2**40 if number == 6 else None,
        status=ContentStatus.PUBLISHED if number == 7 else ContentStatus.DRAFT,
        created_at=created,
        updated_at=created,
        deleted_at=deleted_at,
    )


def _expected() -> list[str]:
    return sorted((f"c{n:02}" for n in range(25)), key=lambda c: (int(c[1:]) % 3, c), reverse=True)


def test_pages_hold_everything_once_in_a_stable_order(api: TestClient) -> None:
    """Newest first, ties broken by id; deleted and foreign ones are not there."""
    ids: list[str] = []
    for page in (1, 2, 3):
        body = api.get("/api/content", params={"page": page, "limit": 10}).json()
        assert (body["total"], body["pages"], body["page"], body["limit"]) == (25, 3, page, 10)
        assert body["totalIsLowerBound"] is False
        ids += [item["id"] for item in body["items"]]
    assert ids == _expected()
    default = api.get("/api/content").json()
    assert default["limit"] == len(default["items"]) == 20


@pytest.mark.parametrize("sort_by", ["createdAt", "updatedAt", "title"])
@pytest.mark.parametrize("sort_order", ["asc", "desc"])
def test_cursors_walk_through_everything_once(
    api: TestClient, sort_by: str, sort_order: str
) -> None:
    """In every order, also where the server's time zone is not UTC; the last page has no cursor."""
    params = {"sortBy": sort_by, "sortOrder": sort_order, "limit": "4"}
    whole = [
        item["id"]
        for item in api.get("/api/content", params={**params, "limit": "100"}).json()["items"]
    ]
    ids: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        body = api.get(
            "/api/content", params={**params, **({"cursor": cursor} if cursor else {})}
        ).json()
        ids += [item["id"] for item in body["items"]]
        cursor = body["nextCursor"]
        assert len(ids) <= 25
    assert ids == whole
    assert sorted(ids) == [f"c{n:02}" for n in range(25)]


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"status": "PUBLISHED"}, ["c07"]),
        ({"status": "published"}, ["c07"]),
        ({"platform": "tiktok"}, ["c07"]),
        ({"platform": "YOUTUBE"}, []),
        ({"search": "walk 09"}, ["c09"]),
        ({"search": "sea"}, ["c05"]),
        ({"search": "100%"}, ["c04"]),
        ({"search": "%"}, ["c04"]),
        ({"search": "walk_09"}, []),
    ],
)
def test_filters_find_what_they_say(
    api: TestClient, params: dict[str, str], found: list[str]
) -> None:
    """Status, platform and text; the text is taken literally."""
    body = api.get("/api/content", params=params).json()
    assert [item["id"] for item in body["items"]] == found
    assert body["total"] == len(found)


def test_a_size_is_told_as_a_decimal_string(api: TestClient) -> None:
    """contracts.md, HTTP: fileSize is a number in requests and a decimal string in answers."""
    assert api.get("/api/content/c06").json()["fileSize"] == str(2**40)
    body = api.get("/api/content/c08").json()
    assert (body["fileSize"], body["media"], body["verdicts"]) == (None, None, [])
    assert body["createdAt"] == "2026-11-01T14:00:00.000Z"


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": "101"}, "limit"),
        ({"limit": "0"}, "limit"),
        ({"page": "0"}, "page"),
        ({"page": "x"}, "page"),
        ({"status": "LOST"}, "status"),
        ({"platform": "myspace"}, "platform"),
        ({"sortBy": "secret"}, "sortBy"),
        ({"sortOrder": "up"}, "sortOrder"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "WyJ0aXRsZSIsICJhIiwgImIiXQ=="}, "cursor"),
        ({"search": "a\0b"}, "search"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_query_names_its_field(api: TestClient, params: dict[str, str], field: str) -> None:
    """400 with field and fix."""
    answer = api.get("/api/content", params=params)
    assert answer.status_code == 400, answer.text
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert all(error["fix"] for error in answer.json()["errors"])


@pytest.mark.parametrize("wanted", ["gone", "foreign", "nothing"])
def test_what_is_deleted_or_foreign_is_not_there(api: TestClient, wanted: str) -> None:
    """404 = not there or not yours."""
    assert api.get(f"/api/content/{wanted}").status_code == 404
