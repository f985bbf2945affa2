"""The numbers over HTTP: dashboard, content, refresh and exports, on real servers."""

import csv
import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import redis
from pydantic import SecretStr
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import create_key
from minitik_dagster.analytics.days import day_of
from minitik_dagster.analytics.names import DAILY, USER_DAILY
from minitik_dagster.analytics.readings import Series
from minitik_dagster.analytics.rollup import daily_rollup, day_documents
from minitik_dagster.db.types import Platform
from tests.analytics.scene import AnalyticsScene
from tests.api.server import serving

NOW = datetime.now(UTC)
NOON = NOW.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(hours=12)


@pytest.fixture
def headers(scene: AnalyticsScene) -> dict[str, str]:
    """A key of the scene's person."""
    with Session(scene.engine) as session, session.begin():
        return {"Authorization": f"Bearer {create_key(session, scene.user_id, 'test')}"}


@pytest.fixture
def api(scene: AnalyticsScene, s3_endpoint: str, s3_bucket: str) -> Iterator[httpx.Client]:
    """The API with all its servers."""
    bucket = {
        "aws_endpoint_url_s3": s3_endpoint,
        "aws_s3_bucket": s3_bucket,
        "aws_access_key_id": SecretStr("test"),
        "aws_secret_access_key": SecretStr("test"),
    }
    with serving(scene.settings.model_copy(update=bucket)) as client:
        yield client


def roll_up(scene: AnalyticsScene, days: int) -> None:
    """Roll up the last days, today the last."""
    now = datetime.now(UTC)
    with scene.engine.connect() as connection:
        for n in range(days):
            day = (now - timedelta(days=n)).date()
            documents = day_documents(scene.store, connection, day, now=now)
            daily_rollup((), now).put(scene.store, DAILY, f"{day:%Y-%m-%d}", documents)


@pytest.fixture
def story(scene: AnalyticsScene) -> list[Series]:
    """A content on TikTok and YouTube, live for ten days; the TikTok one was not read on one day."""
    content = scene.content("A story")
    live = NOON - timedelta(days=9)
    posts = [
        scene.post(scene.account(platform), live_at=live, content_id=content, counts={"views": 900})
        for platform in (Platform.TIKTOK, Platform.YOUTUBE)
    ]
    for post, step in zip(posts, (10, 5), strict=True):
        for n in range(10):
            if post is posts[0] and n == 7:
                continue
            at = live + timedelta(days=n, hours=6)
            scene.reading(post, at, views=(n + 1) * step, likes=n, comments=1, shares=0)
    roll_up(scene, 15)
    return posts


def get(api: httpx.Client, headers: dict[str, str], path: str, **query: str) -> dict[str, Any]:
    answer = api.get(f"/api/analytics{path}", params=query, headers=headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_the_dashboard_tells_increases_and_the_range_before(
    api: httpx.Client, headers: dict[str, str], scene: AnalyticsScene, story: list[Series]
) -> None:
    """Differences of counters, a day without a reading is null in its platform, nothing is summed twice."""
    week = get(api, headers, "/dashboard", range="7d")

    # Days -10 ... -1 were read; the week is days -6 ... 0.
    assert week["totals"]["views"] == {
        "value": 60 + 30, "previous": 40 + 20, "change": 30, "changePercent": 50.0,
    }  # fmt: skip
    assert [day["views"] for day in week["series"]] == [15, 15, 15, 5, 25, 15, None]
    assert [day["date"] for day in week["series"]] == [
        f"{(datetime.now(UTC) - timedelta(days=n)).date()}" for n in range(6, -1, -1)
    ]
    assert {row["platform"]: (row["views"], row["shares"]) for row in week["platforms"]} == {
        "TIKTOK": (60, 0), "YOUTUBE": (30, None),
    }  # fmt: skip
    [best] = week["topContents"]
    assert (best["title"], best["views"]) == ("A story", 90)
    assert week["lagSeconds"] > 0
    assert week["capturedAt"].endswith("Z")

    here = get(api, headers, "/dashboard", range="7d", timezone="Etc/UTC")
    assert {**here, "timezone": "UTC", "lagSeconds": 0} == {**week, "lagSeconds": 0}, (
        "days made from the readings are the rolled up ones"
    )
    month = get(api, headers, "/dashboard", range="30d")
    assert month["totals"]["views"]["value"] == 100 + 50, "from 0 at going live"


def test_answers_are_kept_for_five_minutes_and_right_without_redis(
    api: httpx.Client,
    headers: dict[str, str],
    scene: AnalyticsScene,
    story: list[Series],
    redis_url: str,
) -> None:
    first = get(api, headers, "/dashboard")
    for name in (DAILY, USER_DAILY):
        scene.store.database[name].delete_many({})
    assert get(api, headers, "/dashboard") == first
    with redis.Redis.from_url(redis_url) as client:
        [key] = client.keys("analytics_cache:*")
        assert 0 < client.ttl(key) <= 300
    roll_up(scene, 15)
    unset = scene.settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    with serving(unset) as without:
        assert get(without, headers, "/dashboard")["totals"] != {}


def test_a_contents_posts_are_shown_one_by_one(
    api: httpx.Client, headers: dict[str, str], story: list[Series]
) -> None:
    """Counters, increases, gaps and spans; what a platform does not offer is null."""
    content = get(api, headers, f"/content/{story[0].content_id}", range="14d")
    assert content["totals"]["views"] == 100 + 50
    video, short = sorted(content["publications"], key=lambda one: str(one["platform"]))
    assert (video["totals"]["views"], short["totals"]["views"]) == (100, 50)
    assert (video["totals"]["reach"], short["totals"]["shares"]) == (None, None)
    days = {day["date"]: day["views"] for day in video["series"]}
    gap = f"{day_of(NOON - timedelta(days=2) + timedelta(hours=6))}"
    after = f"{day_of(NOON - timedelta(days=1) + timedelta(hours=6))}"
    assert days[gap] == {"increase": None, "total": None, "spanDays": None, "corrected": False}
    assert (days[after]["increase"], days[after]["spanDays"]) == (20, 2)
    assert video["nextReadingAt"] > video["capturedAt"]


def test_a_refresh_reads_now_and_once_an_hour(
    api: httpx.Client, headers: dict[str, str], scene: AnalyticsScene, story: list[Series]
) -> None:
    """The new numbers are in the dashboard at once; the second try says when."""
    get(api, headers, "/dashboard", range="7d")
    answer = api.post("/api/analytics/refresh", headers=headers)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["read"], answer.json()["failed"]) == (2, 0)
    week = get(api, headers, "/dashboard", range="7d")
    assert week["totals"]["views"]["value"] == (900 - 40) + (900 - 20)
    again = api.post("/api/analytics/refresh", headers=headers)
    assert again.status_code == 429
    assert again.json()["nextAllowedAt"] > f"{datetime.now(UTC):%Y-%m-%dT%H:%M}"
    assert int(again.headers["Retry-After"]) <= 3600


def export(api: httpx.Client, headers: dict[str, str], **body: str) -> dict[str, Any]:
    """Order an export and wait until it is written."""
    answer = api.post("/api/analytics/export", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    deadline = time.monotonic() + 20
    while True:
        found = get(api, headers, f"/exports/{answer.json()['id']}")
        if found["status"] in {"ready", "failed"}:
            return found
        assert time.monotonic() < deadline, found


def test_an_export_is_a_file_behind_a_link(
    api: httpx.Client, headers: dict[str, str], story: list[Series]
) -> None:
    """A row per post and day, that day's increases, empty where not known; CSV and JSON alike."""
    made = export(api, headers, format="csv", range="14d")
    assert made["status"] == "ready", made
    file = httpx.get(made["url"], trust_env=False)
    assert file.headers["content-type"].startswith("text/csv")
    assert file.text.splitlines()[0] == (
        "date,contentId,platform,accountId,views,likes,comments,shares,reach,impressions,"
        "engagementRate"
    )
    rows = list(csv.DictReader(io.StringIO(file.text)))
    assert len(rows) == made["rows"] == 2 * 11, "from the day of going live until today"
    videos = [row["views"] for row in rows if row["platform"] == "TIKTOK"]
    assert sum(int(views) for views in videos if views) == 100
    assert videos.count("") == 2
    assert made["url"].split("?")[0].endswith(".csv")
    again = export(api, headers, format="json", timeRange="14d")
    objects = json.loads(httpx.get(again["url"], trust_env=False).text)
    assert [str(row["views"] if row["views"] is not None else "") for row in objects] == [
        row["views"] for row in rows
    ]


@pytest.mark.parametrize(
    ("path", "field"),
    [("/dashboard?range=8d", "range"), ("/dashboard?timezone=Mars/Base", "timezone")],
)
def test_a_range_or_zone_there_is_not_is_refused_with_the_fix(
    api: httpx.Client, headers: dict[str, str], path: str, field: str
) -> None:
    answer = api.get(f"/api/analytics{path}", headers=headers)
    assert answer.status_code == 400
    [problem] = answer.json()["errors"]
    assert problem["field"] == field
    assert problem["fix"]


def test_mongodb_down_is_503_and_publishing_untouched(
    scene: AnalyticsScene, headers: dict[str, str]
) -> None:
    """An error is an error, not an empty list; what needs no MongoDB answers as before."""
    down = scene.settings.model_copy(
        update={"mongodb_uri": SecretStr("mongodb://u:hunter2@127.0.0.1:1")}
    )
    with serving(down) as api:
        post = scene.post(scene.account(Platform.TIKTOK))
        for path in ("/dashboard", f"/content/{post.content_id}"):
            answer = api.get(f"/api/analytics{path}", headers=headers)
            assert answer.status_code == 503, answer.text
            assert answer.json()["dependency"] == "mongodb"
            assert "hunter2" not in answer.text
        assert api.get("/api/scheduling", headers=headers).status_code == 200
