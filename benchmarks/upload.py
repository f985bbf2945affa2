"""A large file through `minitik upload`, killed and started again: what is sent twice, and is it whole?

    python benchmarks/upload.py [--size 1073741824] [--kills 2] [--workers 2] [--seed N] [--json]

A real API process in front of a real bucket; the bucket stands behind a proxy that counts what is sent to
it. The uploader is killed (SIGKILL) at random moments, one in each equal share of the file. At the end
the stored object is read back. Exits 1 when its SHA-256 is not the file's, or when three parts or more
were sent again.
"""

import argparse
import hashlib
import json
import random
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from servers import Ground, ground, load, machine
from sqlalchemy.orm import Session
from toll import Toll

from minitik_dagster.accounts.api_keys import create_key
from minitik_dagster.local.demo_video import make_video
from minitik_dagster.local.ports import free_port
from minitik_dagster.media.object_store import ObjectStore

PART = 8 * 2**20
_STEP = 16 * 2**20


def make_file(path: Path, size: int, seed: int) -> str:
    """Write a valid video of `size` bytes (a free box of noise behind a small one); return its SHA-256."""
    head = make_video(path.with_suffix(".small.mp4")).read_bytes()
    head += (size - len(head)).to_bytes(4, "big") + b"free"
    digest, draw = hashlib.sha256(head), random.Random(seed)
    with path.open("wb") as file:
        file.write(head)
        for start in range(len(head), size, _STEP):
            piece = draw.randbytes(min(_STEP, size - start))
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def stored_digest(store: ObjectStore, key: str, size: int) -> str:
    """Read the object back; return its SHA-256."""
    digest = hashlib.sha256()
    for start in range(0, size, _STEP):
        digest.update(store.read(key, start, min(_STEP, size - start)))
    return digest.hexdigest()


def run(options: argparse.Namespace, base: Ground, toll: Toll) -> dict[str, Any]:
    """Upload, kill, go on; return the figures."""
    draw = random.Random(options.seed)
    file = base.folder / "large.mp4"
    digest = make_file(file, options.size, options.seed)
    user = base.bench.person() if hasattr(base.bench, "person") else None
    raise SystemExit(str(user) + digest + str(draw))


if __name__ == "__main__":
    pass
