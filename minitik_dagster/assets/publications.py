"""The asset `publications`: what the dispatchers did, one materialization per window; and its files.

External assets: the events come from the job's op (and, for resident dispatchers, from a sensor),
so that "Materialize" in the UI cannot start a dispatcher.
"""

from typing import Any

from dagster import AssetKey, AssetSpec, MetadataValue

PUBLICATIONS_KEY = AssetKey("publications")
CONTENTS_KEY = AssetKey("contents")

contents = AssetSpec(
    CONTENTS_KEY,
    description=(
        "The videos that people uploaded, a file of the bucket each: where every post and every number "
        "begins. They come by the API and `minitik upload`, never by Dagster: it has no event of its own."
    ),
    group_name="publishing",
    kinds={"s3", "postgres"},
    owners=["team:publishing"],
)

publications = AssetSpec(
    PUBLICATIONS_KEY,
    deps=[CONTENTS_KEY],
    description=(
        "Posts carried to TikTok, Instagram and YouTube. Each materialization is one dispatcher's "
        "window: posts, outcomes per platform, lateness of the commit call against the due instant, "
        "and the failures. A post's own history is its ledger: `minitik publications show ID`."
    ),
    group_name="publishing",
    kinds={"postgres", "python"},
    owners=["team:publishing"],
)


def window_metadata(summary: dict[str, Any], failures_table: str) -> dict[str, MetadataValue[Any]]:
    """Turn a dispatcher's summary into metadata; ids only, no people, no secrets."""
    lateness = summary["lateness_ms"]
    metadata: dict[str, MetadataValue[Any]] = {
        "claimed": MetadataValue.int(summary["claimed"]),
        "posts_committed": MetadataValue.int(lateness["count"]),
        "outcomes": MetadataValue.md(_outcomes_table(summary["outcomes"])),
        "failures": MetadataValue.md(failures_table),
    }
    for name in ("p50", "p99", "max"):
        if lateness[name] is not None:
            metadata[f"lateness_{name}_ms"] = MetadataValue.float(round(lateness[name], 2))
    return metadata


def _outcomes_table(outcomes: dict[str, dict[str, int]]) -> str:
    if not outcomes:
        return "Nothing was due."
    names = sorted({name for counts in outcomes.values() for name in counts})
    lines = [
        "| platform | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for platform, counts in outcomes.items():
        lines.append(f"| {platform} | " + " | ".join(str(counts.get(n, 0)) for n in names) + " |")
    return "\n".join(lines)
