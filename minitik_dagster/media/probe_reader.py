"""Reads an untrusted video with FFmpeg's libraries; runs in the probe's own process only.

The container is sniffed first and its demuxer named, so that a file cannot choose among FFmpeg's
hundreds of formats (playlists, scripts, image sequences); nothing besides the file can be opened.
"""

import importlib
import io
import pkgutil
from collections.abc import Iterator
from typing import Any, NoReturn, Protocol

import av
import av.filter
from av.stream import Disposition
from av.video.frame import VideoFrame

from minitik_dagster.media.sniff import FIRST_BYTES, NotAVideoError, sniff

for _module in pkgutil.walk_packages(av.__path__, "av."):
    # PyAV imports parts of itself when it first meets a kind of stream; by then the probe's process
    # can open no file any more.
    if not _module.name.endswith(("__main__", ".datasets")):
        importlib.import_module(_module.name)

MAX_SIDE = 8192  # beyond every platform's limit: such a frame is not decoded
THUMBNAIL_SIDE = 720
_MAX_BOXES = 10_000
_TO_REFERENCES = {b"trak", b"mdia", b"minf", b"dinf"}
_REFERENCES = {b"url ", b"urn ", b"alis", b"rsrc"}
_DEMUXER = {"mp4": "mp4", "mov": "mov", "webm": "webm"}


class RandomAccess(Protocol):
    """A file of known size that can be read anywhere."""

    size: int

    def read_exactly(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only at the file's end."""
        ...


def examine(file: Any) -> tuple[dict[str, Any], bytes]:
    """Return the report and a JPEG thumbnail (empty for frames too large to decode).

    `file` is a RandomAccess that FFmpeg can read and seek in as well.
    """
    container_name = sniff(file.read_exactly(0, FIRST_BYTES))
    index_first = None if container_name == "webm" else _box_order(file)
    file.seek(0)
    try:
        with av.open(
            file,
            format=_DEMUXER[container_name],
            container_options={"enable_drefs": "0", "use_absolute_path": "0"}
            if container_name != "webm"
            else {},
            buffer_size=256 * 1024,
            io_open=_refuse_to_open,
            metadata_errors="replace",
        ) as container:
            return _report(container, container_name, index_first, file.size)
    except MemoryError:
        raise
    except av.FFmpegError:
        raise NotAVideoError("damaged") from None


def _refuse_to_open(*_: object) -> NoReturn:
    raise NotAVideoError("references")


def _box_order(file: RandomAccess) -> bool:
    """Whether moov comes before mdat; NotAVideoError when a box ends beyond the file (cut short)."""
    offset, moov, mdat = 0, None, None
    for _ in range(_MAX_BOXES):
        head = file.read_exactly(offset, 16)
        if len(head) < 8:
            break
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:16], "big")
        elif length == 0:  # the last box, up to the file's end
            length = file.size - offset
        if length < 8 or not all(32 <= byte < 127 for byte in kind):
            break  # trailing bytes some recorders leave; the demuxer judges the rest
        if kind == b"moov" and moov is None:
            moov = offset
        if kind in {b"mdat", b"moof"} and mdat is None:
            mdat = offset
        if offset + length > file.size and kind in {b"mdat", b"moov", b"moof"}:
            raise NotAVideoError("cut_short", f"{offset + length - file.size} bytes are missing")
        if kind == b"moov":
            _refuse_references(file, offset + 8, offset + length)
        offset += length
    if moov is None:
        raise NotAVideoError("no_index")
    return mdat is None or moov < mdat


def _refuse_references(file: RandomAccess, start: int, end: int) -> None:
    """Refuse an index whose data lies in other files (ISO/IEC 14496-12, "Data Reference Box").

    FFmpeg is told not to follow them and would take the bytes for this file's; a platform might not.
    """
    spans, seen = [(start, end)], 0
    while spans and seen < _MAX_BOXES:
        offset, end = spans.pop()
        while offset + 8 <= end and seen < _MAX_BOXES:
            seen += 1
            head = file.read_exactly(offset, 8)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if length < 8 or offset + length > end:
                break  # the demuxer judges what is damaged
            if kind in _TO_REFERENCES:
                spans.append((offset + 8, offset + length))
            elif kind == b"dref":
                spans.append((offset + 16, offset + length))
            elif kind in _REFERENCES and not file.read_exactly(offset + 8, 4).endswith(b"\1"):
                raise NotAVideoError("references")
            offset += length


def _report(
    container: Any, container_name: str, index_first: bool | None, size: int
) -> tuple[dict[str, Any], bytes]:
    videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not videos:
        found = "sound only" if container.streams.audio else "no stream"
        raise NotAVideoError("no_video_stream", found)
    video = videos[0]
    if video.codec_context is None or video.codec_context.codec is None:
        raise NotAVideoError("codec")
    video.codec_context.thread_count = 1
    width, height = video.codec_context.width, video.codec_context.height
    codec = video.codec_context.name
    if not width or not height:
        raise NotAVideoError("damaged")
    duration = _duration(container, video)
    rotation, thumbnail = 0, b""
    if max(width, height) <= MAX_SIDE:
        frame = _a_frame(container, video, duration)
        rotation = frame.rotation
        thumbnail = _jpeg(frame)
    if rotation % 180:
        width, height = height, width
    if duration is None:
        duration = _measured_duration(container, video)
    rate = video.average_rate or video.guessed_rate
    audio = next((s for s in container.streams.audio if s.codec_context is not None), None)
    return {
        "container": container_name,
        "video_codec": _codec_name(codec),
        "width": width,
        "height": height,
        "duration": round(duration, 3) if duration else None,
        "fps": round(float(rate), 3) if rate else None,
        "bitrate": round(size * 8 / duration) if duration else None,
        "rotation": rotation,
        "pixel_format": video.codec_context.pix_fmt,
        "audio_codec": _codec_name(audio.codec_context.name) if audio is not None else None,
        "audio_sample_rate": audio.codec_context.sample_rate if audio is not None else None,
        "audio_channels": audio.codec_context.channels if audio is not None else None,
        "index_first": index_first,
    }, thumbnail


def _codec_name(name: str) -> str:
    """The codec's name rather than its decoder's (libdav1d, libvpx-vp9, mp3float)."""
    return {"libdav1d": "av1", "libvpx-vp9": "vp9", "libvpx": "vp8", "mp3float": "mp3"}.get(
        name, name
    )


def _duration(container: Any, video: Any) -> float | None:
    if container.duration and container.duration > 0:
        return float(container.duration) / 1_000_000
    if video.duration and video.duration > 0 and video.time_base:
        return float(video.duration * video.time_base)
    return None


def _measured_duration(container: Any, video: Any) -> float | None:
    """Read to the end to learn the duration: browsers' recordings do not state theirs."""
    container.seek(0)
    ends = [
        float((packet.pts + (packet.duration or 0)) * packet.time_base)
        for packet in container.demux(video)
        if packet.pts is not None
    ]
    return max(ends) if ends else None


def _a_frame(container: Any, video: Any, duration: float | None) -> VideoFrame:
    """Decode a frame a little after the start, else the first one."""
    wanted = min(3.0, duration / 10) if duration else 0.0
    if wanted and video.time_base:
        container.seek(int(wanted / video.time_base), stream=video)
        for frame in _frames(container, video):
            if frame.time is None or frame.time >= wanted:
                return frame
        container.seek(0)
    for frame in _frames(container, video):
        return frame
    raise NotAVideoError("undecodable")


def _frames(container: Any, video: Any) -> Iterator[VideoFrame]:
    yield from container.decode(video)


def _jpeg(frame: VideoFrame) -> bytes:
    scale = min(1.0, THUMBNAIL_SIDE / max(frame.width, frame.height))
    width, height = (max(2, round(side * scale) // 2 * 2) for side in (frame.width, frame.height))
    small = _turned(frame.reformat(width=width, height=height, format="yuvj420p"), frame.rotation)
    target = io.BytesIO()
    with av.open(target, "w", format="mjpeg") as output:
        stream: Any = output.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = small.width, small.height, "yuvj420p"
        stream.codec_context.thread_count = 1
        small.pts = 0
        for packet in [*stream.encode(small), *stream.encode(None)]:
            output.mux(packet)
    return target.getvalue()


def _turned(frame: VideoFrame, counterclockwise: int) -> VideoFrame:
    """Apply the rotation the file asks of its players."""
    steps = {90: ["cclock"], -90: ["clock"], 180: ["clock"] * 2, -180: ["clock"] * 2}
    turns = steps.get(counterclockwise, [])
    if not turns:
        return frame
    graph = av.filter.Graph()
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format)]
    nodes += [graph.add("transpose", turn) for turn in turns]
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()
    graph.push(frame)
    turned = graph.pull()
    if not isinstance(turned, VideoFrame):
        raise NotAVideoError("undecodable")
    return turned
