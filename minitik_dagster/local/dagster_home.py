"""DAGSTER_HOME of the stack: the project's dagster.yaml and workspace.yaml, copied there."""

import shutil
from pathlib import Path

import minitik_dagster
from minitik_dagster.local.errors import LocalStackError

_PACKAGED = Path(__file__).parent
_REPOSITORY = Path(minitik_dagster.__file__).parent.parent


def project_file(name: str) -> Path:
    """Where a file of the repository's root lies: in the installed package, else in the clone."""
    for folder in (_PACKAGED, _REPOSITORY):
        if (folder / name).is_file():
            return folder / name
    raise LocalStackError(f"{name} is missing: neither in {_PACKAGED} nor in {_REPOSITORY}")


def prepare_dagster_home(folder: Path) -> None:
    """Make the folder and bring its two files up to date."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copyfile(project_file(name), folder / name)
