"""Commands run beside `minitik up` join its stack for what the environment does not set."""

import os
from pathlib import Path


def join_running_stack() -> None:
    """Fill unset variables from `<data dir>/secrets.env` and endpoints.json of a running stack.

    Only where DATABASE_URL is unset: a configured deployment is never mixed with a local one.
    """
    if os.environ.get("DATABASE_URL"):
        return
    home = Path(os.environ.get("MINITIK_HOME") or ".minitik")
    if not (home / "endpoints.json").is_file():
        return
    try:
        from minitik_dagster.local.data_folder import DataFolder
        from minitik_dagster.local.endpoints import environment_beside
    except ImportError:  # the extra `local` is not installed: then no local stack runs either
        return
    for name, value in environment_beside(DataFolder(home)).items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("MINITIK_HOME", str(home))
