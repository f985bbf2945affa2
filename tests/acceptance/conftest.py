"""Folders for whole stacks."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minitik_dagster.local.process import GUARD


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder outside pytest's own, which is closed to the user PostgreSQL runs as under root.

    A stack opens the way to its data; another pytest that starts meanwhile would close it again.
    """
    folder = Path(tempfile.mkdtemp(prefix="minitik-stack-"))
    GUARD.remove_at_end(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
