"""Peak memory of a run that publishes a 1 GiB file: `python benchmarks/memory.py`.

A file of random bytes goes into S3 by multipart, then to TikTok and YouTube (sandbox), and is refused
for Instagram. Printed is the peak resident size of the run process (VmHWM of /proc) against what a
process has after importing Dagster alone. Nothing is asserted.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from servers import Ground, ground, machine
from sqlalchemy import text

from minitik_dagster.db.types import Platform
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.local.workbench import Video
from minitik_dagster.media.object_store import StoredPart

_PART_BYTES = 8 * 1024 * 1024
_KIB_PER_MB = 1_000_000 / 1024
_WAIT_SECONDS = 900
_IMPORT_ALONE = "import dagster; print(open('/proc/self/status').read())"
# The sandbox processes quickly; no limit is raised.
_QUICK = {"instagram": {"processingMs": 500}, "youtube": {"processingMs": 500}}


def main() -> None:
    """Run the programs asked for and print what was found."""
    options = _options()
    runners = ["dagster", "dispatcher"] if options.runner == "both" else [options.runner]
    with ground(MINITIK_IDLE_SECONDS="5") as place:
        place.bench.sandbox.set_limits(**_QUICK)
        results = [_run(place, runner, options.size) for runner in runners]
    report = {
        "machine": machine(),
        "file_bytes": options.size,
        "raised_limits": {},
        "results": results,
    }
    print(json.dumps(report, indent=2) if options.json else _prose(report))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2**30, help="bytes of the file (default 1 GiB)")
    parser.add_argument(
        "--runner",
        choices=["dagster", "dispatcher", "both"],
        default="both",
        help="a run of the Dagster job publish_due_posts, `minitik dispatcher`, or one after the other",
    )
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _run(place: Ground, runner: str, size: int) -> dict[str, Any]:
    bench = place.bench
    video = _store(place, size)
    accounts = [(bench.add_account(platform), platform) for platform in Platform]
    ids = bench.schedule(video, accounts, bench.now() + timedelta(seconds=20))
    baseline = _imported_alone()
    load = machine()["load_1_5_15_min"]
    process = _program(place, runner)
    started = time.monotonic()
    process.start()
    try:
        peak = _watch(place, process, ids)
    finally:
        seconds = time.monotonic() - started
        process.stop()
    rows = {row.platform.value.lower(): row for row in bench.rows(ids)}
    public = bench.public_posts(video)
    return {
        "runner": runner,
        "load_before": load,
        "seconds": round(seconds, 1),
        "peak_mb": _mb(peak),
        "dagster_import_mb": _mb(baseline),
        "beyond_import_mb": _mb(peak - baseline),
        "public_with_same_sha256": sorted(post["platform"] for post in public),
        "stages": {name: row.stage for name, row in sorted(rows.items())},
        "instagram": rows["instagram"].error,
    }


def _program(place: Ground, runner: str) -> ChildProcess:
    if runner == "dispatcher":
        return place.dispatcher()
    home = place.folder / "dagster"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").touch()
    job = ("job", "execute", "-m", "minitik_dagster.definitions", "-j", "publish_due_posts")
    return place.program(
        "dagster", "dagster", *job, DAGSTER_HOME=str(home), DAGSTER_DISABLE_TELEMETRY="yes"
    )


def _store(place: Ground, size: int) -> Video:
    """Put random bytes into the bucket part by part, as the content of a new row."""
    bench = place.bench
    video = bench.add_video(1_000)
    with bench.engine.begin() as connection:
        key = connection.execute(
            text('UPDATE contents SET "fileSize" = :size WHERE id = :id RETURNING "filePath"'),
            {"size": size, "id": video.content_id},
        ).scalar_one()
    bucket = place.environment["AWS_S3_BUCKET"]
    client = bench.objects.client
    upload = bench.objects.create_multipart(key, "video/mp4")
    digest = sha256()
    parts = []
    for number, start in enumerate(range(0, size, _PART_BYTES), start=1):
        part = os.urandom(min(_PART_BYTES, size - start))
        digest.update(part)
        answer = client.upload_part(
            Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=part
        )
        parts.append(StoredPart(number, answer["ETag"].strip('"'), len(part)))
    bench.objects.complete(key, upload, parts)
    return Video(video.content_id, size, digest.hexdigest())


def _imported_alone() -> int:
    """KiB resident after importing Dagster alone."""
    found = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALONE], capture_output=True, text=True, check=True
    )
    return _field(found.stdout, "VmRSS")


def _watch(place: Ground, process: ChildProcess, ids: Sequence[str]) -> int:
    """Return the process's peak in KiB once every post has ended; the kernel keeps the high-water mark."""
    status = Path(f"/proc/{process.pid}/status")
    deadline = time.monotonic() + _WAIT_SECONDS
    peak = 0
    while time.monotonic() < deadline:
        peak = max(peak, _field(status.read_text(), "VmHWM"))
        rows = place.bench.rows(ids)
        if all(row.stage in {"live", "failed", "review"} for row in rows):
            return peak
        if not process.is_running():
            raise SystemExit(f"the run ended early: {process.log.read_text()[-2000:]}")
        time.sleep(0.5)
    raise SystemExit("not all posts ended in time")


def _field(status: str, name: str) -> int:
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


def _mb(kib: int) -> float:
    return round(kib / _KIB_PER_MB, 1)


def _prose(report: dict[str, Any]) -> str:
    host = report["machine"]
    lines = [
        f"machine: {host['cores']} cores, {host['memory_gib']} GiB, Python {host['python']}",
        f"file: {report['file_bytes']:,} bytes; no limit was raised",
    ]
    for result in report["results"]:
        lines += [
            "",
            f"{result['runner']}: {result['seconds']} s, load before {result['load_before']}",
            (
                f"  peak {result['peak_mb']} MB, Dagster imported alone "
                f"{result['dagster_import_mb']} MB: {result['beyond_import_mb']} MB beyond"
            ),
            f"  public with the file's SHA-256: {', '.join(result['public_with_same_sha256'])}",
            (
                f"  instagram: {result['stages']['instagram']}"
                + (f": {result['instagram']}" if result["instagram"] else "")
            ),
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
