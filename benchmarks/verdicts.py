"""What chaos.py and outages.py share: short waits, raised quotas, and the verdict on each post.

A post is judged by its own bytes: the sandbox shows a SHA-256 of what is public, and no two posts of
these benchmarks have the same file. Public exactly once and `live` in the row is right.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, text

from minitik_dagster.db.types import Platform
from minitik_dagster.local.workbench import Video

# Short processing: a trial is about the engine, not about waiting. Quotas are not what is tried here.
RAISED = {
    "tiktok": {"processingMs": 300, "moderationMs": 300},
    "instagram": {"processingMs": 300},
    "youtube": {"processingMs": 300, "uploadsPerDay": 10**6, "unitsPerDay": 10**8},
}
RAISED_BUDGETS = {"youtube.uploads": 10**6, "youtube.units": 10**8}
# The settle times suit a sandbox whose late effects come within seconds.
QUICK = {
    "MINITIK_SETTLE_TIKTOK_SECONDS": "3",
    "MINITIK_SETTLE_INSTAGRAM_SECONDS": "4",
    "MINITIK_SEND_DEADLINE_SECONDS": "1",
}
SETTLED = ("failed", "review", "cancelled", "removed", "held")
NAMES = ("lost", "double", "unsettled", "review")

_STAGES = "SELECT id, stage FROM publications"
_OF_ACCOUNT = 'SELECT "platformAccountId" FROM accounts WHERE id = :id'


@dataclass(frozen=True)
class Trial:
    """One post: where it goes, its bytes, and the lie told of it."""

    publication_id: str
    platform: Platform
    video: Video
    lie: str = "none"


def stages(engine: Engine) -> dict[str, str]:
    """Where each publication stands, by id."""
    with engine.connect() as connection:
        return {row.id: row.stage or "" for row in connection.execute(text(_STAGES))}


def judge(
    trials: Sequence[Trial], posts: Iterable[Mapping[str, Any]], stage_of: Mapping[str, str]
) -> list[tuple[Trial, str, str]]:
    """Compare what is public with what the rows say: (trial, verdict, stage)."""
    public = Counter(post["sha256"] for post in posts)
    found = []
    for trial in trials:
        times = public[trial.video.sha256]
        # A row that is gone is as lost as one that failed.
        stage = stage_of.get(trial.publication_id, "gone")
        if times > 1:
            verdict = "double"
        elif stage == "review":
            verdict = "review"
        elif times == 1:
            verdict = "right" if stage == "live" else f"public but {stage}"
        else:
            verdict = "lost" if stage in {*SETTLED, "live", "gone"} else "unsettled"
        found.append((trial, verdict, stage))
    return found


def counted(found: Iterable[tuple[Trial, str, str]]) -> tuple[Counter[str], list[str]]:
    """How many of each verdict, and a line for each post that is not right."""
    verdicts: Counter[str] = Counter()
    wrong = []
    for trial, verdict, stage in found:
        verdicts[verdict] += 1
        if verdict != "right":
            wrong.append(
                f"{verdict}: {trial.platform} {trial.lie} {trial.publication_id} ({stage})"
            )
    return verdicts, wrong


def platform_account(engine: Engine, account_id: str) -> str:
    """Return the id by which the platform knows an account."""
    with engine.connect() as connection:
        return str(connection.execute(text(_OF_ACCOUNT), {"id": account_id}).scalar_one())
