"""Commands run beside `minitik up` join its stack for what the environment does not set."""

import os
from pathlib import Path


def join_running_stack() -> None:
    """Fill unset variables from `<data dir>/secrets.env` and endpoints.json of a running stack.

    Not where DATABASE_URL names another database than the stack's: a configured deployment is never
    mixed with a local one.
    """
    home = Path(os.environ.get("MINITIK_HOME") or ".minitik")
    if not (home / "endpoints.json").is_file():
        return
    try:
        from minitik_dagster.local.data_folder import DataFolder
        from minitik_dagster.local.endpoints import environment_beside
        from minitik_dagster.local.secrets_file import without_mixed_push_keys
    except ImportError:  # the extra `local` is not installed: then no local stack runs either
        return
    found = environment_beside(DataFolder(home))
    configured = os.environ.get("DATABASE_URL")
    if configured and configured != found.get("DATABASE_URL"):
        return
    for name, value in without_mixed_push_keys(found, os.environ).items():
        if not os.environ.get(name):  # an empty variable counts as unset, as in the settings
            os.environ[name] = value
    os.environ.setdefault("MINITIK_HOME", str(home))
