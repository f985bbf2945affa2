"""docs/analytics.md is held to the code: metrics, cadence, checks, assets and collections."""

import re
from pathlib import Path

from minitik_dagster.analytics import health
from minitik_dagster.analytics.cadence import CADENCE, DAY, HOUR
from minitik_dagster.analytics.days import RANGES
from minitik_dagster.analytics.metrics import METRICS, OFFERED, REPORT_METRICS
from minitik_dagster.analytics.names import ROLLUP_INDEXES
from minitik_dagster.analytics.youtube_reports import TRAILING_DAYS
from minitik_dagster.db.types import Platform
from minitik_dagster.definitions import defs
from minitik_dagster.platforms.youtube_calls import REPORT_METRICS as ASKED

PAGE = (Path(__file__).parents[2] / "docs" / "analytics.md").read_text()


def rows() -> list[list[str]]:
    """Every table row's cells."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_dictionary_of_metrics_is_the_codes_own() -> None:
    """Name, unit, source field and definition of each metric on each platform, and no other."""
    told = [row for row in rows() if len(row) == 5 and row[0].startswith("`")]
    expected = []
    for metric in METRICS:
        assert [f"`{metric.name}`", metric.unit, metric.definition] in rows()
        for platform in Platform:
            source = metric.sources.get(platform)
            expected.append(
                [
                    f"`{metric.name}`",
                    platform.value.lower(),
                    metric.unit,
                    f"`{source.field}`" if source else "not offered",
                    source.definition if source else "null",
                ]
            )
            assert (source is not None) == (metric.name in OFFERED[platform])
    assert told == expected


def test_youtubes_figures_are_told_and_asked_for() -> None:
    for metric in REPORT_METRICS:
        assert [f"`{metric.name}`", metric.unit, metric.definition] in rows()
    assert tuple(metric.name for metric in REPORT_METRICS) == ASKED
    assert f"the last {TRAILING_DAYS} days are read again" in PAGE


def test_the_cadence_is_the_codes_own() -> None:
    for until, every in CADENCE:
        days, hours = until // DAY, every // HOUR
        row = [f"{days} day{'s' * (days > 1)}", f"{hours} hour{'s' * (hours > 1)}"]
        assert row in rows(), row


def test_every_asset_check_range_and_collection_of_analytics_is_told() -> None:
    told = {row[0].strip("`") for row in rows()}
    assert set(health.QUESTIONS) <= told
    graph = defs.get_repository_def().asset_graph
    mine = {
        key.to_user_string()
        for key in graph.get_all_asset_keys()
        if graph.get(key).group_name == "analytics"
    }
    assert mine <= told
    assert set(RANGES) <= set(re.findall(r"`(\d+d)`", PAGE))
    assert set(ROLLUP_INDEXES) <= set(re.findall(r"`(analytics_\w+)`", PAGE))
