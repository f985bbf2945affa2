"""Was every post public exactly once, with the right bytes, on time? Pure judgement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MAX_LATENESS_MS = 1_000.0
TERMINAL_STAGES = frozenset(
    {"live", "review", "held", "parked", "paused", "failed", "cancelled", "removed"}
)


@dataclass(frozen=True)
class Row:
    """One line of the demo's table; times are aware UTC instants, lateness is in milliseconds."""

    platform: str
    stage: str
    post_id: str | None
    due: datetime
    published: datetime | None
    late_ms: float | None


def rows_of(publications: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Read the API's publications in the platforms' usual order."""
    order = {"tiktok": 0, "instagram": 1, "youtube": 2}
    rows = [
        Row(
            platform=str(item["platform"]).lower(),
            stage=str(item["stage"]),
            post_id=item["platformPostId"],
            due=datetime.fromisoformat(item["dueAt"]),
            published=_instant(item.get("committedAt") or item.get("acceptedAt")),
            late_ms=None if item["latenessMs"] is None else float(item["latenessMs"]),
        )
        for item in publications
    ]
    return sorted(rows, key=lambda row: order.get(row.platform, 9))


def problems_of(
    publications: Sequence[Mapping[str, Any]],
    posts: Sequence[Mapping[str, Any]],
    *,
    sha256: str,
    platforms: Sequence[str],
) -> list[str]:
    """Everything that is wrong, one sentence each; empty = all public exactly once and on time.

    `posts` is what the sandbox shows as public, of this run and of earlier ones.
    """
    problems: list[str] = []
    for item in publications:
        platform, stage = str(item["platform"]).lower(), item["stage"]
        if stage != "live":
            reason = (item.get("error") or {}).get("reason") or "no reason given"
            problems.append(f"{platform}: is {stage}, not live ({reason})")
        problems += _timing(platform, item["latenessMs"])
    mine = [post for post in posts if post["sha256"] == sha256]
    for platform in platforms:
        count = sum(post["platform"] == platform for post in mine)
        if count != 1:
            problems.append(
                f"{platform}: the sandbox shows {count} public posts with this file's SHA-256, "
                "not exactly one"
            )
    if len(mine) != len(platforms):
        problems.append(f"{len(mine)} posts carry this file, not exactly {len(platforms)}")
    problems += _too_early(mine, publications)
    return problems


def _timing(platform: str, late_ms: float | None) -> list[str]:
    if late_ms is None:
        return [f"{platform}: no lateness is recorded"]
    if late_ms < 0:
        return [f"{platform}: was sent {-late_ms:.0f} ms early"]
    if late_ms > MAX_LATENESS_MS:
        return [f"{platform}: was sent {late_ms:.0f} ms late, more than {MAX_LATENESS_MS:.0f}"]
    return []


def _too_early(
    posts: Sequence[Mapping[str, Any]], publications: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The platform's own clock must agree that nothing went out before its instant."""
    due_ms = {
        str(item["platform"]).lower(): datetime.fromisoformat(item["dueAt"]).timestamp() * 1000
        for item in publications
    }
    return [
        f"{post['platform']}: was public before its instant"
        for post in posts
        if post["publishedAt"] < int(due_ms.get(post["platform"], 0))
    ]


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
