"""Verdicts: each platform's rule, at its bound and beyond."""

from dataclasses import replace

import pytest

from minitik_dagster.db.types import Platform
from minitik_dagster.media.facts import MediaFacts
from minitik_dagster.media.verdicts import judge, judge_all

GOOD = MediaFacts(
    container="mp4",
    mime_type="video/mp4",
    size=10_000_000,
    video_codec="h264",
    width=1080,
    height=1920,
    duration=30.0,
    fps=30.0,
    bitrate=2_600_000,
    pixel_format="yuv420p",
    audio_codec="aac",
    audio_sample_rate=48_000,
    audio_channels=2,
    index_first=True,
)


def test_an_ordinary_portrait_video_is_taken_everywhere_without_a_word() -> None:
    """No error and no warning on any platform."""
    for verdict in judge_all(GOOD):
        assert verdict.accepted
        assert verdict.warnings == ()


@pytest.mark.parametrize(
    ("platform", "change", "rule"),
    [
        (Platform.INSTAGRAM, {"size": 300_000_001}, "fileSize"),
        (Platform.INSTAGRAM, {"mime_type": "video/webm"}, "container"),
        (Platform.INSTAGRAM, {"video_codec": "vp9"}, "videoCodec"),
        (Platform.INSTAGRAM, {"audio_codec": "opus"}, "audioCodec"),
        (Platform.INSTAGRAM, {"duration": 2.8}, "duration"),
        (Platform.INSTAGRAM, {"duration": 900.2}, "duration"),
        (Platform.INSTAGRAM, {"fps": 22.5}, "frameRate"),
        (Platform.INSTAGRAM, {"width": 1922}, "width"),
        (Platform.INSTAGRAM, {"bitrate": 25_000_001}, "bitrate"),
        (Platform.INSTAGRAM, {"width": 1902, "height": 190}, "aspect"),
        (Platform.INSTAGRAM, {"width": 10, "height": 1010}, "aspect"),
        (Platform.TIKTOK, {"video_codec": "av1"}, "videoCodec"),
        (Platform.TIKTOK, {"duration": 600.2}, "duration"),
        (Platform.TIKTOK, {"fps": 90.0}, "frameRate"),
        (Platform.TIKTOK, {"width": 358}, "dimensions"),
        (Platform.TIKTOK, {"height": 4098}, "dimensions"),
        (Platform.YOUTUBE, {"duration": 12 * 3600 + 1.0}, "duration"),
    ],
)
def test_a_rule_that_is_broken_is_named_with_finding_limit_and_fix(
    platform: Platform, change: dict[str, object], rule: str
) -> None:
    """Each error says rule, found, limit and fix; the other rules stay quiet."""
    verdict = judge(replace(GOOD, **change), platform)  # type: ignore[arg-type]  # cases as data
    assert not verdict.accepted
    (error,) = verdict.errors
    assert error.rule == rule
    assert error.found
    assert error.limit
    assert error.fix
    (problem,) = verdict.problems()
    assert platform.value in problem.message
    assert problem.fix == error.fix


@pytest.mark.parametrize(
    "change",
    [
        {"size": 300_000_000},
        {"duration": 3.0},
        {"duration": 900.0},
        {"fps": 23.976},
        {"fps": 60.04},
        {"width": 1920, "height": 1080},
        {"width": 1920, "height": 192},
        {"audio_codec": None},
        {"video_codec": "hevc"},
    ],
)
def test_a_bound_itself_is_within(change: dict[str, object]) -> None:
    """Limits are inclusive, and an average frame rate may lie a hair beside the nominal one."""
    assert judge(replace(GOOD, **change), Platform.INSTAGRAM).accepted  # type: ignore[arg-type]  # cases as data


@pytest.mark.parametrize(
    ("platform", "change", "rule"),
    [
        (Platform.INSTAGRAM, {"index_first": False}, "indexFirst"),
        (Platform.INSTAGRAM, {"pixel_format": "yuv422p"}, "chroma"),
        (Platform.INSTAGRAM, {"audio_sample_rate": 96_000}, "audioSampleRate"),
        (Platform.INSTAGRAM, {"audio_channels": 6}, "audioChannels"),
        (Platform.INSTAGRAM, {"duration": None}, "duration"),
        (Platform.TIKTOK, {"fps": None}, "frameRate"),
        (Platform.TIKTOK, {"width": 1920, "height": 1080}, "orientation"),
        (Platform.YOUTUBE, {"duration": 200.0}, "shorts"),
    ],
)
def test_what_may_surprise_is_a_warning_and_no_error(
    platform: Platform, change: dict[str, object], rule: str
) -> None:
    """A warning never keeps a post back."""
    verdict = judge(replace(GOOD, **change), platform)  # type: ignore[arg-type]  # cases as data
    assert verdict.accepted
    assert [warning.rule for warning in verdict.warnings] == [rule]
