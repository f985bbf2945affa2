"""Would a platform take this video? Pure functions over `MediaFacts` and the platforms' limits.

An error means the platform's own rules refuse it; a warning means it may look or land otherwise than
expected, or that the file does not say what the rule asks for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import FieldProblem
from minitik_dagster.media.facts import MediaFacts
from minitik_dagster.platforms.limits import MEDIA_LIMITS, MediaLimits

# Averages over a variable frame rate land a little beside the nominal figure.
_FPS_TOLERANCE: Final = 0.1
# Containers round the duration to their own clock.
_DURATION_TOLERANCE_SECONDS: Final = 0.1
_SHORT_MAX_SECONDS: Final = 180.0  # YouTube Shorts: square or vertical, at most 3 minutes
_FOUR_TWO_ZERO: Final = ("yuv420p", "yuvj420p", "nv12")
_CODEC_NAMES: Final = {"h264": "H.264", "hevc": "H.265", "vp8": "VP8", "vp9": "VP9", "aac": "AAC"}
_MIME_NAMES: Final = {"video/mp4": "MP4", "video/quicktime": "MOV", "video/webm": "WebM"}


@dataclass(frozen=True)
class Finding:
    """One rule that is not met: its name, what was found, the platform's limit, and the fix."""

    rule: str
    found: str
    limit: str
    fix: str


@dataclass(frozen=True)
class Verdict:
    """A platform's judgement; `errors` empty means it takes the file."""

    platform: Platform
    errors: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    limits_version: str

    @property
    def accepted(self) -> bool:
        """Whether the platform's rules take the file."""
        return not self.errors

    def problems(self, field: str = "file") -> tuple[FieldProblem, ...]:
        """Say the errors as an API answer does."""
        name = self.platform.value
        return tuple(
            FieldProblem(field, f"{name}: {e.rule} is {e.found}, the limit is {e.limit}", e.fix)
            for e in self.errors
        )


def judge(facts: MediaFacts, platform: Platform) -> Verdict:
    """Hold the facts against one platform's limits."""
    limits = MEDIA_LIMITS[platform]
    warnings = [
        *_unknowns(facts, limits),
        *_sound(facts, limits),
        *_PLATFORM_WARNINGS[platform](facts),
    ]
    errors = (
        *_size_and_kind(facts, limits),
        *_length_and_rate(facts, limits),
        *_picture(facts, limits),
    )
    return Verdict(platform, errors, tuple(warnings), limits.version)


def judge_all(facts: MediaFacts) -> tuple[Verdict, ...]:
    """Hold the facts against every platform's limits."""
    return tuple(judge(facts, platform) for platform in Platform)


def _size_and_kind(facts: MediaFacts, limits: MediaLimits) -> Iterator[Finding]:
    if facts.size > limits.max_bytes:
        yield Finding(
            "fileSize",
            _megabytes(facts.size),
            f"{_megabytes(limits.max_bytes)} at most",
            "Export it with a lower bitrate or make it shorter.",
        )
    if facts.mime_type not in limits.mime_types:
        names = _one_of(_MIME_NAMES.get(m, m) for m in limits.mime_types)
        yield Finding(
            "container",
            _MIME_NAMES.get(facts.mime_type, facts.mime_type),
            names,
            f"Export it as {names}.",
        )
    for rule, found, allowed in (
        ("videoCodec", facts.video_codec, limits.video_codecs),
        ("audioCodec", facts.audio_codec, limits.audio_codecs),
    ):
        if found is not None and allowed and found not in allowed:
            names = _one_of(_codec(name) for name in allowed)
            yield Finding(rule, _codec(found), names, f"Export it with {names}.")


def _length_and_rate(facts: MediaFacts, limits: MediaLimits) -> Iterator[Finding]:
    slack = _DURATION_TOLERANCE_SECONDS
    if facts.duration is not None:
        low, high = limits.min_duration, limits.max_duration
        if low is not None and facts.duration < low.total_seconds() - slack:
            yield Finding(
                "duration",
                f"{facts.duration:g} s",
                f"{low.total_seconds():g} s at least",
                "Make it longer.",
            )
        if high is not None and facts.duration > high.total_seconds() + slack:
            yield Finding(
                "duration",
                f"{facts.duration:g} s",
                f"{high.total_seconds():g} s at most",
                "Make it shorter.",
            )
    if facts.fps is not None and (
        (limits.min_fps is not None and facts.fps < limits.min_fps - _FPS_TOLERANCE)
        or (limits.max_fps is not None and facts.fps > limits.max_fps + _FPS_TOLERANCE)
    ):
        yield Finding(
            "frameRate",
            f"{facts.fps:g} fps",
            f"{_between(limits.min_fps, limits.max_fps)} fps",
            "Export it with 30 fps.",
        )
    bits = limits.max_bits_per_second
    if facts.bitrate is not None and bits is not None and facts.bitrate > bits:
        yield Finding(
            "bitrate",
            f"{facts.bitrate / 1e6:.1f} Mbit/s",
            f"{bits / 1e6:g} Mbit/s at most",
            "Export it with a lower bitrate.",
        )


def _picture(facts: MediaFacts, limits: MediaLimits) -> Iterator[Finding]:
    size = f"{facts.width}x{facts.height}"
    smallest, largest = min(facts.width, facts.height), max(facts.width, facts.height)
    if (limits.min_side is not None and smallest < limits.min_side) or (
        limits.max_side is not None and largest > limits.max_side
    ):
        yield Finding(
            "dimensions",
            size,
            f"{_between(limits.min_side, limits.max_side)} pixels per side",
            "Export it as 1080x1920.",
        )
    if limits.max_width is not None and facts.width > limits.max_width:
        yield Finding(
            "width",
            f"{facts.width} pixels",
            f"{limits.max_width} at most",
            "Export it as 1080x1920.",
        )
    aspect, low, high = facts.aspect_ratio, limits.min_aspect, limits.max_aspect
    if (low is not None and aspect < low) or (high is not None and aspect > high):
        yield Finding(
            "aspect",
            f"{aspect:g}:1",
            f"{_between(low, high)} to 1",
            "Export it as 1080x1920 (9:16).",
        )


def _sound(facts: MediaFacts, limits: MediaLimits) -> Iterator[Finding]:
    rate, channels = limits.max_audio_sample_rate, limits.max_audio_channels
    if rate is not None and (facts.audio_sample_rate or 0) > rate:
        yield Finding(
            "audioSampleRate",
            f"{facts.audio_sample_rate} Hz",
            f"{rate} Hz at most",
            "Export the sound with 48 kHz.",
        )
    if channels is not None and (facts.audio_channels or 0) > channels:
        yield Finding(
            "audioChannels",
            f"{facts.audio_channels}",
            f"{channels} at most",
            "Export the sound in stereo.",
        )


def _unknowns(facts: MediaFacts, limits: MediaLimits) -> Iterator[Finding]:
    if facts.duration is None and (limits.min_duration or limits.max_duration):
        yield Finding("duration", "not stated in the file", "must be known", "Export it as MP4.")
    if facts.fps is None and (limits.min_fps or limits.max_fps):
        yield Finding("frameRate", "not stated in the file", "must be known", "Export it as MP4.")


def _tiktok_warnings(facts: MediaFacts) -> Iterator[Finding]:
    if facts.width > facts.height:
        yield Finding(
            "orientation", "landscape", "portrait fills the screen", "Export it as 1080x1920."
        )


def _instagram_warnings(facts: MediaFacts) -> Iterator[Finding]:
    if facts.index_first is False:
        yield Finding(
            "indexFirst",
            "the index (moov) lies behind the data",
            "moov first",
            "Export it for the web (fast start).",
        )
    if facts.pixel_format and not facts.pixel_format.startswith(_FOUR_TWO_ZERO):
        yield Finding("chroma", facts.pixel_format, "4:2:0", "Export it with 4:2:0 chroma.")


def _youtube_warnings(facts: MediaFacts) -> Iterator[Finding]:
    if facts.width > facts.height or (facts.duration or 0) > _SHORT_MAX_SECONDS:
        yield Finding(
            "shorts",
            f"{facts.width}x{facts.height}, {facts.duration or 0:g} s",
            f"square or portrait, {_SHORT_MAX_SECONDS:g} s at most",
            "It will be an ordinary video, not a Short.",
        )


_PLATFORM_WARNINGS: Final = {
    Platform.TIKTOK: _tiktok_warnings,
    Platform.INSTAGRAM: _instagram_warnings,
    Platform.YOUTUBE: _youtube_warnings,
}


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size} bytes"


def _codec(name: str) -> str:
    return _CODEC_NAMES.get(name, name.upper())


def _one_of(names: Iterator[str]) -> str:
    ordered = sorted(names)
    return " or ".join([", ".join(ordered[:-1]), ordered[-1]] if len(ordered) > 1 else ordered)


def _between(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"at most {high:g}" if high is not None else f"at least {low or 0:g}"
    return f"{low:g} to {high:g}"
