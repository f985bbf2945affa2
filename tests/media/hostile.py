"""Files that nobody should upload: what is no video, what is damaged on purpose, what is merely odd."""

import io
import random
import struct
import zipfile
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import av
from av.video.frame import VideoFrame

from tests.media.videos import make_sound, make_video

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl", b"udta"}
_MANY = 2**32 - 1


def edit(data: bytes, path: tuple[bytes, ...], change: Callable[[bytes], bytes]) -> bytes:
    """Rewrite the bodies of the boxes at `path` of an MP4, and the sizes of all that hold them."""
    out, offset = b"", 0
    while offset + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        body = data[offset + 8 : offset + size]
        if kind == path[0]:
            body = change(body) if len(path) == 1 else edit(body, path[1:], change)
        out += struct.pack(">I4s", len(body) + 8, kind) + body
        offset += size
    return out


def _at(offset: int, new: bytes) -> Callable[[bytes], bytes]:
    return lambda body: body[:offset] + new + body[offset + len(new) :]


def _box(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _table(name: bytes) -> tuple[bytes, ...]:
    return (b"moov", b"trak", b"mdia", b"minf", b"stbl", name)


_REFERENCE = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")


def _external(kind: bytes, target: bytes) -> Callable[[bytes], bytes]:
    """A data reference that names another file instead of this one."""
    entry = struct.pack(">I4sI", 12 + len(target), kind, 0) + target
    return lambda _: struct.pack(">II", 0, 1) + entry


def _nested(depth: int) -> bytes:
    """Boxes within boxes; each holds the next one whole."""
    sizes = [8 * (depth - level) for level in range(depth)]
    return b"".join(struct.pack(">I4s", size, b"udta") for size in sizes)


def _bomb(side: int) -> bytes:
    """A picture of one colour that is small on disk and large in memory."""
    target = io.BytesIO()
    with av.open(target, "w", format="mov") as output:
        stream = output.add_stream("png", rate=1)
        stream.width = stream.height = side
        stream.pix_fmt = "gray"
        stream.codec_context.thread_count = 1
        frame = VideoFrame(side, side, "gray")
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.pts, frame.time_base = 0, Fraction(1, 1)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return target.getvalue()


def _zip() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("run.sh", "rm -rf /")
    return target.getvalue()


def no_videos() -> Mapping[str, bytes]:
    """Files of other kinds, playlists and scripts among them: each is refused by its first bytes."""
    noise = random.Random(1)
    return {
        "one byte": b"\0",
        "text": b"Dear diary,\n" * 50,
        "html": b"<!doctype html><script>alert(1)</script>" * 9,
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "hls playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        "hls playlist of the network": b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/latest\n",
        "dash manifest": b'<?xml version="1.0"?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>',
        "ffconcat script": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        "sdp": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 9 RTP/AVP 96\r\n",
        "subtitles": b"1\n00:00:01,000 --> 00:00:02,000\nHello\n",
        "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(500),
        "png": b"\x89PNG\r\n\x1a\n" + bytes(500),
        "gif": b"GIF89a" + bytes(500),
        "pdf": b"%PDF-1.7\n" + bytes(500),
        "zip": _zip(),
        "wav": b"RIFF\x24\0\0\0WAVEfmt " + bytes(500),
        "avi": make_video(container="avi", codec="mpeg4", seconds=0.2, sound=False),
        "mp3": b"ID3\4\0\0\0\0\0\0" + bytes(500),
        "ogg": b"OggS\0\2" + bytes(500),
        "flash video": b"FLV\1\5\0\0\0\x09" + bytes(500),
        "transport stream": make_video(container="mpegts", seconds=0.2),
        "matroska": make_video(container="matroska", seconds=0.2),
        "elf program": b"\x7fELF\2\1\1" + bytes(500),
        "gzip": b"\x1f\x8b\x08" + bytes(500),
        "nothing but zeros": bytes(1_000_000),
        "noise": noise.randbytes(100_000),
    }


def damaged() -> Mapping[str, bytes]:
    """Videos spoilt on purpose: lengths, counts, references, depths that are not what they say."""
    video = make_video(seconds=3.2, index_first=False)
    mov = make_video(container="mov", seconds=0.5, index_first=False)
    noise = random.Random(2)
    ftyp = _box(b"ftyp", b"isom\0\0\2\0isomiso2mp41")
    webm = b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm"
    at = video.index(b"moov")
    trak = video[video.index(b"trak") - 4 :][
        : struct.unpack(">I", video[video.index(b"trak") - 4 :][:4])[0]
    ]
    return {
        "a head alone": ftyp,
        "a head and noise": ftyp + noise.randbytes(50_000),
        "the end is missing": video[:-400],
        "the first half is missing": ftyp + video[len(video) // 2 :],
        "an index of 4 GiB": video[: at - 4] + struct.pack(">I", _MANY) + video[at:],
        "a box of 2**63 bytes": ftyp + struct.pack(">I4sQ", 1, b"mdat", 2**63) + bytes(99),
        "a box smaller than its head": ftyp + struct.pack(">I4s", 3, b"moov") + video,
        "boxes 100,000 deep": ftyp + _box(b"moov", _nested(100_000)),
        "a million empty boxes": ftyp + _box(b"free") * 1_000_000 + video[at - 4 :],
        "sound only": make_sound(),
        "its data lies in /etc/passwd": edit(
            video, _REFERENCE, _external(b"url ", b"file:///etc/passwd\0")
        ),
        "its data lies in the network": edit(
            video, _REFERENCE, _external(b"url ", b"http://127.0.0.1/\0")
        ),
        "an alias of another file": edit(
            mov,
            _REFERENCE,
            _external(b"alis", bytes(150) + b"/etc/passwd"),
        ),
        "2**32 - 1 durations": edit(video, _table(b"stts"), _at(4, struct.pack(">I", _MANY))),
        "2**32 - 1 samples": edit(video, _table(b"stsz"), _at(8, struct.pack(">I", _MANY))),
        "2**32 - 1 chunks": edit(video, _table(b"stco"), _at(4, struct.pack(">I", _MANY))),
        "samples of 4 GiB": edit(video, _table(b"stsz"), _at(4, struct.pack(">I", _MANY))),
        "chunks behind the end": edit(
            video, _table(b"stco"), lambda body: body[:8] + b"\x7f" * (len(body) - 8)
        ),
        "a time scale of 0": edit(
            video, (b"moov", b"trak", b"mdia", b"mdhd"), _at(12, struct.pack(">I", 0))
        ),
        "136 years long": edit(
            edit(video, (b"moov", b"mvhd"), _at(16, struct.pack(">I", _MANY))),
            (b"moov", b"trak", b"tkhd"),
            _at(20, struct.pack(">I", _MANY)),
        ),
        "100 tracks": edit(video, (b"moov",), lambda body: body + trak * 100),
        "frames of zeros": edit(video, (b"mdat",), lambda body: bytes(len(body))),
        "frames of noise": edit(video, (b"mdat",), lambda body: noise.randbytes(len(body))),
        "an unknown codec": video.replace(b"avc1", b"xxxx"),
        "65,535 pixels a side": edit(video, _table(b"stsd"), _at(40, b"\xff\xff\xff\xff")),
        "a picture of 4,000 pixels a side": _bomb(4_000),
        "a picture of 9,000 pixels a side": _bomb(9_000),
        "a WebM head alone": webm,
        "a WebM of noise": webm + noise.randbytes(50_000),
        "a WebM element of 2**56 bytes": webm + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + bytes(99),
    }


def _short(**choices: Any) -> bytes:
    """A video that every platform takes, but for what is chosen."""
    return make_video(**{"seconds": 3.1, "height": 360} | choices)


def odd() -> Mapping[str, bytes]:
    """Real videos that are unusual: each is examined and judged."""
    video = _short()
    return {
        "no sound": _short(sound=False),
        "one frame": _short(seconds=0.04, sound=False),
        "5 frames a second": _short(fps=5),
        "120 frames a second": _short(fps=120),
        "160 pixels wide": _short(width=160, height=284),
        "a thousand pixels wide and two high": _short(width=1000, height=2),
        "MPEG-4 part 2": _short(codec="mpeg4"),
        "H.265": _short(codec="libx265"),
        "VP8 in WebM": _short(container="webm", codec="libvpx"),
        "MJPEG in MOV": _short(container="mov", codec="mjpeg"),
        "the index behind the data": _short(container="mov", index_first=False),
        "a name of broken text": video.replace(b"Lavf", b"\xff\xfe\xc3\x28"),
        "a ZIP behind it": video + _zip(),
        "a script in a free box": video + _box(b"free", b"<script>alert(1)</script>"),
        "in fragments": _short(fragments=True),
    }
