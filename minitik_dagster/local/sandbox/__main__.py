"""`python -m minitik_dagster.local.sandbox --port 0 --host 127.0.0.1 --db PATH`."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

import uvloop

from minitik_dagster.errors import ConfigurationError
from minitik_dagster.local.sandbox.server import listen, serve
from minitik_dagster.settings import load_settings


def main() -> int:
    """Run the sandbox until it is told to stop; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m minitik_dagster.local.sandbox")
    parser.add_argument("--host", default="127.0.0.1", choices=["127.0.0.1", "::1", "localhost"])
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--db", type=Path, required=True, help="the SQLite file that keeps state")
    options = parser.parse_args()
    try:
        hosts = load_settings().allowed_hosts()
    except ConfigurationError as problem:
        sys.stderr.write(f"sandbox: {problem}\n")
        return 1
    try:
        listener = listen(options.host, options.port)
    except OSError as problem:
        sys.stderr.write(f"sandbox: port {options.port} on {options.host}: {problem.strerror}\n")
        return 1

    def announce(base: str) -> None:
        sys.stdout.write(f"sandbox listening on {base}\n")
        sys.stdout.flush()

    # uvicorn shuts down in order and then raises the signal again for whoever stood here before.
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    uvloop.run(serve(listener, options.db, announce, hosts))
    return 0


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """End as asked: exit code 0, no traceback."""
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
