"""Which container a file is, told by its first bytes alone: no name, no announced type, no library."""

FIRST_BYTES = 4096
_OLD_QUICKTIME = {b"moov", b"mdat", b"free", b"wide", b"skip", b"pnot"}


class NotAVideoError(Exception):
    """The file cannot be used; `code` says why, `detail` what was found."""

    def __init__(self, code: str, detail: str = "") -> None:
        self.code = code
        self.detail = detail
        super().__init__(code)


def sniff(head: bytes) -> str:
    """Tell the container from the first bytes: mp4, mov or webm; NotAVideoError for anything else."""
    kind = head[4:8]
    if kind == b"ftyp":
        return "mov" if head[8:12] == b"qt  " else "mp4"
    if kind in _OLD_QUICKTIME:
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        # EBML: DocType is element 0x4282, its length one byte for names this short.
        at = head.find(b"\x42\x82")
        name = head[at + 3 : at + 3 + (head[at + 2] & 0x7F)] if 0 <= at < len(head) - 2 else b""
        if name.rstrip(b"\0") == b"webm":
            return "webm"
        raise NotAVideoError("container", "Matroska")
    raise NotAVideoError("not_a_video", _looks_like(head))


def _looks_like(head: bytes) -> str:
    known = {
        b"RIFF": "RIFF (AVI or WAV)",
        b"%PDF": "PDF",
        b"\x89PNG": "PNG",
        b"\xff\xd8\xff": "JPEG",
        b"PK\x03\x04": "ZIP",
        b"GIF8": "GIF",
        b"ID3": "MP3",
    }
    for magic, name in known.items():
        if head.startswith(magic):
            return name
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in head)
    return "text" if head and printable / len(head) > 0.95 else "unknown data"
