"""Looks for known secrets in files, in every form in which they could have been written down.

The looking is GNU grep's, by one automaton for all forms: whole data folders of servers take a second.
"""

import base64
import html
import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

# A shorter text would be found by chance.
LEAST = 8
# A long secret is also found by a part of it: a log that shows "the first twenty characters" leaks.
# What our API keys may show of themselves (`mtk_` and eight more) is before the first part.
_PART, _FIRST = 20, 12


@dataclass(frozen=True)
class Secret:
    """A known secret; `kind` is how a finding names it: its value is never shown."""

    kind: str
    value: str

    def __repr__(self) -> str:
        return f"Secret({self.kind!r})"


@dataclass(frozen=True)
class Finding:
    """A secret that stands where it must not: which, in which form, in which file and where there."""

    kind: str
    form: str
    path: Path
    offset: int

    def line(self) -> bytes:
        """The line it stands in."""
        with self.path.open("rb") as file:
            file.seek(max(0, self.offset - 4096))
            before = file.read(min(self.offset, 4096))
            return before[before.rfind(b"\n") + 1 :] + file.readline()

    def __str__(self) -> str:
        return f"{self.kind} ({self.form}) in {self.path} at byte {self.offset}"


def forms_of(value: str) -> dict[bytes, str]:
    """Return each way to write a secret down, with its name."""
    found: dict[bytes, str] = {}

    def add(text: str | bytes, form: str) -> None:
        data = text.encode() if isinstance(text, str) else text
        if len(data) >= LEAST and b"\n" not in data:
            found.setdefault(data, form)

    add(value, "plain")
    add(quote(value, safe=""), "URL-encoded")
    add(quote(quote(value, safe=""), safe=""), "URL-encoded twice")
    add(quote(value, safe="").lower(), "URL-encoded, lower case")
    add(html.escape(value), "HTML")
    for ascii_only in (True, False):
        escaped = json.dumps(value, ensure_ascii=ascii_only)[1:-1]
        add(escaped, "JSON")
        add(json.dumps(escaped)[1:-1], "JSON in JSON")
        add(escaped.replace("/", "\\/"), "JSON with escaped slashes")
    add(value.encode().hex(), "hex")
    add(value.encode().hex().upper(), "hex")
    raw = [value.encode()]
    if len(value) == 64 and all(mark in "0123456789abcdef" for mark in value.lower()):
        add(value.upper(), "plain, upper case")
        raw.append(bytes.fromhex(value))
        add(raw[1], "its bytes")
    for data in raw:
        for form in _in_base64(data):
            add(form, "base64")
    if len(value) >= _FIRST + 2 * _PART:
        add(value[_FIRST : _FIRST + _PART], "a part of it")
        add(value[-_PART:], "its end")
    return found


def _in_base64(data: bytes) -> Iterable[bytes]:
    """What base64 of any text with `data` in it holds, wherever it stands there."""
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + data)
        begin = (0, 2, 3)[shift]
        end = len(encoded) - (0, 3, 2)[(shift + len(data)) % 3]
        middle = encoded[begin:end]
        yield middle
        yield middle.replace(b"+", b"-").replace(b"/", b"_")


def search(
    secrets: Sequence[Secret], folders: Iterable[Path], *, without: Iterable[Path] = ()
) -> list[Finding]:
    """Find the secrets in all files below the folders, as bytes; files named in `without` are passed over."""
    names: dict[bytes, tuple[str, str]] = {}
    for secret in secrets:
        for data, form in forms_of(secret.value).items():
            names.setdefault(data, (secret.kind, form))
    skipped = {path.absolute() for path in without}
    files = [file for folder in folders for file in _files(folder, skipped)]
    found: list[Finding] = []
    for start in range(0, len(files), 500):
        found += _grep(names, files[start : start + 500])
    return found


def _files(folder: Path, skipped: set[Path]) -> Iterable[Path]:
    if folder.absolute() in skipped:
        return
    if folder.is_file():
        yield folder
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.is_symlink() or path.absolute() in skipped:
            continue
        if entry.is_dir():
            yield from _files(path, skipped)
        elif entry.is_file() and entry.stat().st_size:
            yield path


def _grep(names: dict[bytes, tuple[str, str]], files: Sequence[Path]) -> list[Finding]:
    if not files or not names:
        return []
    done = subprocess.run(
        ["grep", "-F", "-a", "-o", "-b", "-H", "-Z", "-f", "-", "--", *map(str, files)],
        input=b"\n".join(names) + b"\n",
        capture_output=True,
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
        check=False,
    )
    # 1: nothing was found. 2: something could not be read, and a scan that skips files proves nothing.
    assert done.returncode in {0, 1}, done.stderr[:2000]
    found = []
    for line in done.stdout.splitlines():
        path, _, rest = line.partition(b"\0")
        offset, _, match = rest.partition(b":")
        kind, form = names[match]
        found.append(Finding(kind, form, Path(os.fsdecode(path)), int(offset)))
    return found
