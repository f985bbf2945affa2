"""A large file through `minitik upload`, killed and started again: it is stored whole.

    python benchmarks/upload.py [--size 1073741824] [--kills 2] [--workers 2] [--seed N] [--json]

A real API process in front of a real bucket; the bucket stands behind a proxy that counts what is sent to
it. The uploader is killed (SIGKILL) at random moments, one in each equal share of the file. At the end
the stored object is read back. Exits 1 when its SHA-256 is not the file's, or when three parts or more
were sent again.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
from servers import Ground, ground, load, machine
from sqlalchemy.orm import Session
from toll import Toll

from minitik_dagster.accounts.api_keys import create_key
from minitik_dagster.db.models import Content
from minitik_dagster.local.demo_video import make_video
from minitik_dagster.local.ports import free_port

Figures = dict[str, Any]
PART = 8 * 2**20
_STEP = 16 * 2**20


def make_file(path: Path, size: int, seed: int) -> str:
    """Write a valid video of `size` bytes (a free box of noise behind a small one); return its SHA-256."""
    make_video(path)
    head = path.read_bytes()
    head += (size - len(head)).to_bytes(4, "big") + b"free"
    digest, draw = hashlib.sha256(head), random.Random(seed)
    with path.open("wb") as file:
        file.write(head)
        for start in range(len(head), size, _STEP):
            piece = draw.randbytes(min(_STEP, size - start))
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def stored_digest(base: Ground, content_id: str, size: int) -> str:
    """Read the stored object back, past the proxy; return its SHA-256."""
    with Session(base.bench.engine) as session:
        key = session.get_one(Content, content_id).file_path or ""
    digest = hashlib.sha256()
    for start in range(0, size, _STEP):
        digest.update(base.bench.objects.read(key, start, min(_STEP, size - start)))
    return digest.hexdigest()


def run(
    options: argparse.Namespace, base: Ground, toll: Toll, environment: dict[str, str]
) -> Figures:
    """Upload, kill, go on; return the figures."""
    draw = random.Random(options.seed)
    file = base.folder / "large.mp4"
    digest = make_file(file, options.size, options.seed)
    shares = options.kills + 1
    kills = []
    began = time.monotonic()
    for number in range(options.kills):
        at = round(options.size * (number + draw.uniform(0.2, 0.8)) / shares)
        process = _uploader(file, options, environment)
        if not toll.wait_for(at):
            raise SystemExit("the uploader sends nothing")
        process.kill()
        process.communicate()
        kills.append(round(toll.passed / 2**20, 1))
    last = _uploader(file, options, environment)
    out, err = last.communicate()
    seconds = time.monotonic() - began
    if last.returncode:
        raise SystemExit(f"the uploader failed: {err}")
    again = toll.passed - options.size
    stored = stored_digest(base, json.loads(out)["contentId"], options.size)
    return {
        "size": options.size,
        "workers": options.workers,
        "seed": options.seed,
        "killed_at_mib": kills,
        "seconds": round(seconds, 1),
        "sent_again_bytes": again,
        "sent_again_parts": round(again / PART, 2),
        "sha256_file": digest,
        "sha256_stored": stored,
        "right": again < 3 * PART and stored == digest,
    }


def _uploader(
    file: Path, options: argparse.Namespace, environment: dict[str, str]
) -> "subprocess.Popen[str]":
    program = str(Path(sys.executable).with_name("minitik"))
    return subprocess.Popen(
        [program, "upload", str(file), "--json", "--workers", str(options.workers)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def main() -> None:
    """Start the servers, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=2**30, help="bytes (default 1 GiB)")
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    before = load()
    with ground() as base:
        server = urlsplit(base.environment["AWS_ENDPOINT_URL_S3"])
        with Toll(server.port or 80).standing() as toll:
            port = free_port()
            api = base.program(
                "api",
                "uvicorn",
                "minitik_dagster.api.app:create_app",
                *("--factory", "--host", "127.0.0.1", "--port", str(port), "--no-access-log"),
                AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{toll.port}",
            )
            api.start()
            try:
                figures = run(options, base, toll, _access(base, port))
            finally:
                api.stop()
    figures |= {"machine": machine() | {"load_before": before}}
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name}: {value}")
    sys.exit(0 if figures["right"] else 1)


def _access(base: Ground, port: int) -> dict[str, str]:
    """A key of the ground's person, once the API answers."""
    url = f"http://127.0.0.1:{port}"
    transport = httpx2.HTTPTransport(retries=10)
    with httpx2.Client(transport=transport, trust_env=False, timeout=60) as client:
        client.get(f"{url}/healthz").raise_for_status()
    with Session(base.bench.engine) as session, session.begin():
        key = create_key(session, base.bench.user_id, "benchmark", scopes=("content:write",))
    return {"MINITIK_API_URL": url, "MINITIK_API_KEY": key}


if __name__ == "__main__":
    main()
