"""The user PostgreSQL runs as: it refuses to run as root.

As root the server runs as the owner of its data folder, or as `nobody` for a new one. That user must
be able to reach the binaries and the folder: path by path only the missing search bits are added.
"""

import os
import pwd
import stat
from pathlib import Path

from minitik_dagster.local.errors import FolderUnusableError
from minitik_dagster.local.process import Identity

_UNPRIVILEGED = "nobody"


def server_identity(folder: Path) -> Identity | None:
    """Who the server runs as for this data folder; None means: as we are.

    Raises FolderUnusableError when the folder belongs to a user we cannot become.
    """
    owner = folder.stat().st_uid if folder.exists() else None
    if os.geteuid() != 0:
        if owner not in {None, os.geteuid()}:
            raise FolderUnusableError(
                f"PostgreSQL: {folder} belongs to user {_user_name(owner or 0)}, not to "
                f"{_user_name(os.geteuid())}; run as its owner or choose another --data-dir"
            )
        return None
    if owner:
        return Identity(uid=owner, gid=folder.stat().st_gid)
    entry = pwd.getpwnam(_UNPRIVILEGED)
    return Identity(uid=entry.pw_uid, gid=entry.pw_gid)


def hand_over(folder: Path, identity: Identity | None) -> list[Path]:
    """Make the folder the server user's own, private, and reachable for it.

    Returns the folders above that had to be opened for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if identity is None:
        return []
    os.chown(folder, identity.uid, identity.gid)
    folder.chmod(0o700)
    return open_way_to(folder, identity)


def open_way_to(path: Path, identity: Identity) -> list[Path]:
    """Let the user traverse (not list) every folder above `path`; return those changed.

    Each folder is changed only where it must be: +x for others where they lack it.
    """
    changed = []
    for folder in path.resolve().parents:
        if not _may_search(folder.stat(), identity):
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXOTH)
            changed.append(folder)
    return changed


def make_readable(tree: Path, identity: Identity) -> list[Path]:
    """Let the user read and run what lies in `tree` (an installation made under umask 077).

    Returns the folders above that had to be opened for it.
    """
    changed = open_way_to(tree, identity)
    for folder, _, names in os.walk(tree):
        for path in (Path(folder), *(Path(folder) / name for name in names)):
            if path.is_symlink():
                continue
            mode = stat.S_IMODE(path.stat().st_mode)
            wanted = mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
            if wanted != mode:
                path.chmod(wanted)
    return changed


def _may_search(status: os.stat_result, identity: Identity) -> bool:
    if status.st_uid == identity.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == identity.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
