"""Small real videos for the tests, made with the same libraries that read them."""

import io
import random
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame


def make_video(
    *,
    container: str = "mp4",
    codec: str = "libx264",
    seconds: float = 2.0,
    width: int = 360,
    height: int = 640,
    fps: int = 30,
    sound: bool = True,
    rotation: int = 0,
    index_first: bool = True,
    fragments: bool = False,
    seed: int = 0,
) -> bytes:
    """Return a video of moving colours; `seed` makes each one another file."""
    options = {"movflags": "+faststart"} if container in {"mp4", "mov"} and index_first else {}
    if fragments:
        options = {"movflags": "frag_keyframe+empty_moov"}
    # Not in memory: moving the index to the front reopens the file by its name.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video"
        with av.open(str(path), "w", format=container, options=options) as output:
            _add_video(output, codec, seconds, width, height, fps, rotation, seed, sound=sound)
        return path.read_bytes()


def _add_video(
    output: Any,
    codec: str,
    seconds: float,
    width: int,
    height: int,
    fps: int,
    rotation: int,
    seed: int,
    *,
    sound: bool,
) -> None:
    video: Any = output.add_stream(codec, rate=fps)
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    video.width, video.height, video.pix_fmt = width, height, pixels
    video.codec_context.thread_count = 1
    if codec in {"libx264", "libx265"}:
        video.options = {"preset": "ultrafast"} | (
            {"x265-params": "log-level=none"} if codec == "libx265" else {}
        )
    if rotation:
        video.set_display_rotation(rotation)
    audio_codec = "libopus" if codec.startswith("libvpx") else "aac"
    audio: Any = output.add_stream(audio_codec, rate=48_000) if sound else None
    draw = random.Random(seed)
    for index in range(round(seconds * fps)):
        frame = VideoFrame(width, height, pixels)
        for number, plane in enumerate(frame.planes):
            shade = (40 + 17 * number + 3 * index + draw.randrange(40)) % 256
            plane.update(bytes([shade]) * plane.buffer_size)
        frame.pts, frame.time_base = index, Fraction(1, fps)
        output.mux(video.encode(frame))
    output.mux(video.encode(None))
    if audio is not None:
        _add_silence(output, audio, seconds)


def make_sound(seconds: float = 1.0) -> bytes:
    """Return an MP4 file that holds sound only."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as output:
        _add_silence(output, output.add_stream("aac", rate=48_000), seconds)
    return target.getvalue()


def _add_silence(output: Any, audio: Any, seconds: float) -> None:
    samples = 960
    for index in range(round(seconds * 48_000 / samples)):
        frame = AudioFrame(format="s16", layout="stereo", samples=samples)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts = 48_000, index * samples
        frame.time_base = Fraction(1, 48_000)
        output.mux(audio.encode(frame))
    output.mux(audio.encode(None))
