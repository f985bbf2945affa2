"""The platforms' limits as data: the media and texts they take (calls: resilience/limits_table.py).

Figures are the vendors' as of November 2026; `source` names the page. Where a page leaves open whether
"MB" means 10^6 or 2^20 bytes, the smaller reading is used. Raise `LIMITS_VERSION` with any change: it is
stored with each verdict.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from minitik_dagster.db.types import Platform

LIMITS_VERSION = "2026-11"

_MP4, _MOV, _WEBM = "video/mp4", "video/quicktime", "video/webm"


@dataclass(frozen=True)
class MediaLimits:
    """What a platform takes as a video; None = the vendor names no bound.

    Sides are in pixels, aspects are width by height, sample rates in Hz; codecs in ffmpeg's names, an
    empty set of codecs means any.
    """

    max_bytes: int
    mime_types: frozenset[str]
    video_codecs: frozenset[str]
    audio_codecs: frozenset[str]
    min_duration: timedelta | None
    max_duration: timedelta | None
    min_fps: float | None
    max_fps: float | None
    min_side: int | None
    max_side: int | None
    max_width: int | None
    max_bits_per_second: int | None
    source: str
    min_aspect: float | None = None
    max_aspect: float | None = None
    max_audio_sample_rate: int | None = None
    max_audio_channels: int | None = None
    version: str = LIMITS_VERSION


MEDIA_LIMITS: Mapping[Platform, MediaLimits] = MappingProxyType(
    {
        Platform.TIKTOK: MediaLimits(
            max_bytes=4_000_000_000,
            mime_types=frozenset({_MP4, _MOV, _WEBM}),
            video_codecs=frozenset({"h264", "hevc", "vp8", "vp9"}),
            audio_codecs=frozenset(),
            min_duration=None,
            # The creator's own bound (creator_info) may be lower and is asked while preparing.
            max_duration=timedelta(minutes=10),
            min_fps=23,
            max_fps=60,
            min_side=360,
            max_side=4096,
            max_width=None,
            max_bits_per_second=None,
            source="developers.tiktok.com: Media Transfer Guide, Content Posting API",
        ),
        Platform.INSTAGRAM: MediaLimits(
            max_bytes=300_000_000,
            mime_types=frozenset({_MP4, _MOV}),
            video_codecs=frozenset({"h264", "hevc"}),
            audio_codecs=frozenset({"aac"}),
            min_duration=timedelta(seconds=3),
            max_duration=timedelta(minutes=15),
            min_fps=23,
            max_fps=60,
            min_side=None,
            max_side=None,
            max_width=1920,
            max_bits_per_second=25_000_000,
            source="developers.facebook.com: IG User Media, reel specifications",
            min_aspect=0.01,
            max_aspect=10,
            max_audio_sample_rate=48_000,
            max_audio_channels=2,
        ),
        Platform.YOUTUBE: MediaLimits(
            max_bytes=256_000_000_000,
            mime_types=frozenset({_MP4, _MOV, _WEBM}),
            video_codecs=frozenset(),
            audio_codecs=frozenset(),
            min_duration=None,
            max_duration=timedelta(hours=12),
            min_fps=None,
            max_fps=None,
            min_side=None,
            max_side=None,
            max_width=None,
            max_bits_per_second=None,
            source="developers.google.com/youtube: Videos insert; support.google.com: upload limits",
        ),
    }
)

TIKTOK_QUERY_BATCH = 20
YOUTUBE_LIST_BATCH = 50
# Posts whose counters one call reads: Instagram tells them for each media alone.
METRICS_BATCH: Mapping[Platform, int] = MappingProxyType(
    {
        Platform.TIKTOK: TIKTOK_QUERY_BATCH,
        Platform.INSTAGRAM: 1,
        Platform.YOUTUBE: YOUTUBE_LIST_BATCH,
    }
)
INSTAGRAM_CAPTION_CHARACTERS = 2_200
TIKTOK_TITLE_UTF16_UNITS = 2_200
YOUTUBE_TITLE_CHARACTERS = 100
YOUTUBE_DESCRIPTION_BYTES = 5_000
YOUTUBE_TAGS_CHARACTERS = 500
