"""Makes a small real H.264 video, a new one each time."""

import random
from fractions import Fraction
from pathlib import Path

import av

WIDTH, HEIGHT, FRAMES_PER_SECOND = 720, 1280, 30
SECONDS = 5
_AUDIO_RATE = 48_000
_AUDIO_FRAME = 1024
# Noise makes the file about 12 MB: several parts of an upload, and on TikTok several chunks, the
# last of which is held until the instant. Below Instagram's 25 Mbit/s.
_BIT_RATE = 16_500_000


def make_video(path: Path) -> None:
    """Write an MP4 (720x1280, 30 frames/s, 5 s, H.264, silent AAC); no two are the same."""
    draw = random.SystemRandom()
    noise = bytes(draw.randrange(16, 236) for _ in range(64 * 1024))
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.bit_rate = _BIT_RATE
        video.options = {"preset": "ultrafast"}
        audio = container.add_stream("aac", rate=_AUDIO_RATE, layout="stereo")
        for index in range(FRAMES_PER_SECOND * SECONDS):
            frame = _picture(index, noise, draw)
            frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_SECOND)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for start in range(0, _AUDIO_RATE * SECONDS, _AUDIO_FRAME):
            silence = av.AudioFrame(format="fltp", layout="stereo", samples=_AUDIO_FRAME)
            for plane in silence.planes:
                plane.update(bytes(plane.buffer_size))
            silence.sample_rate = _AUDIO_RATE
            silence.pts, silence.time_base = start, Fraction(1, _AUDIO_RATE)
            container.mux(audio.encode(silence))
        container.mux(audio.encode(None))


def _picture(index: int, noise: bytes, draw: random.SystemRandom) -> av.VideoFrame:
    """A field of moving noise over a colour that changes slowly."""
    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    luma, blue, red = frame.planes
    start = draw.randrange(len(noise))
    turned = noise[start:] + noise[:start]
    size = luma.buffer_size
    luma.update((turned * (size // len(turned) + 1))[:size])
    shade = (index * 2) % 200 + 28
    blue.update(bytes([shade]) * blue.buffer_size)
    red.update(bytes([255 - shade]) * red.buffer_size)
    return frame
