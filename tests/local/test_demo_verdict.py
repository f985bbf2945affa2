"""The demo says good only when every post is public exactly once, with the right bytes, on time."""

from typing import Any

import pytest

from minitik_dagster.local.demo_verdict import problems_of, rows_of

SHA = "a" * 64
PLATFORMS = ("tiktok", "instagram", "youtube")
DUE, DUE_MS = "2026-11-24T10:00:00.000Z", 1_795_514_400_000


def publication(platform: str, **changes: Any) -> dict[str, Any]:
    return {
        "platform": platform.upper(),
        "stage": "live",
        "dueAt": DUE,
        "committedAt": "2026-11-24T10:00:00.004Z",
        "latenessMs": 4.0,
        "platformPostId": f"{platform}-1",
        "error": None,
    } | changes


def post(platform: str, **changes: Any) -> dict[str, Any]:
    return {"platform": platform, "sha256": SHA, "publishedAt": DUE_MS + 9} | changes


def judge(publications: list[dict[str, Any]], posts: list[dict[str, Any]]) -> list[str]:
    return problems_of(publications, posts, sha256=SHA, platforms=PLATFORMS)


GOOD = [publication(name) for name in PLATFORMS]
POSTS = [post(name) for name in PLATFORMS]


def test_three_posts_public_once_and_on_time_are_good() -> None:
    """Posts of earlier runs (other bytes) do not count."""
    assert judge(GOOD, [*POSTS, post("tiktok", sha256="b" * 64)]) == []


@pytest.mark.parametrize(
    ("publications", "posts", "words"),
    [
        (GOOD, POSTS[:2], "youtube: the sandbox shows 0"),
        (GOOD, [*POSTS, post("tiktok")], "tiktok: the sandbox shows 2"),
        (GOOD, [*POSTS[:2], post("youtube", sha256="c" * 64)], "youtube: the sandbox shows 0"),
        (GOOD, [*POSTS, post("elsewhere")], "4 posts carry this file"),
        (GOOD, [*POSTS[:2], post("youtube", publishedAt=DUE_MS - 1)], "before its instant"),
        ([*GOOD[:2], publication("youtube", latenessMs=1000.5)], POSTS, "late, more than 1000"),
        ([*GOOD[:2], publication("youtube", latenessMs=-2.0)], POSTS, "2 ms early"),
        ([*GOOD[:2], publication("youtube", latenessMs=None)], POSTS, "no lateness"),
        (
            [*GOOD[:2], publication("youtube", stage="failed", error={"reason": "too long"})],
            POSTS,
            "is failed, not live (too long)",
        ),
    ],
)
def test_anything_else_is_named(
    publications: list[dict[str, Any]], posts: list[dict[str, Any]], words: str
) -> None:
    """Missing, doubled, altered, early, late and unfinished posts each have their sentence."""
    assert any(words in problem for problem in judge(publications, posts))


def test_the_table_keeps_the_platforms_usual_order() -> None:
    """Whatever order the API answers in, the table reads TikTok, Instagram, YouTube."""
    rows = rows_of([publication(name) for name in reversed(PLATFORMS)])
    assert [row.platform for row in rows] == list(PLATFORMS)
    assert rows[0].late_ms == 4.0
