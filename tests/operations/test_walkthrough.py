"""docs/walkthrough.md does what it says: both of its stories, as they stand there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session

from minitik_dagster.accounts.api_keys import create_key
from minitik_dagster.db.types import Platform
from minitik_dagster.local.demo_video import make_video
from minitik_dagster.local.process import ChildProcess
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.local.workbench import Workbench
from minitik_dagster.settings import Settings
from tests.api.server import serving

PAGE = (Path(__file__).parent.parent.parent / "docs" / "walkthrough.md").read_text()
pytestmark = pytest.mark.slow


def _story(language: str) -> str:
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 3
    return "\n".join(blocks)


@pytest.fixture
def place(
    environment: Mapping[str, str], sandbox: SandboxServer, tmp_path: Path
) -> Iterator[Mapping[str, str]]:
    """A running system, the environment of who follows the page, and their clip."""
    bench = Workbench(Settings(), sandbox)
    bench.add_account(Platform.YOUTUBE)
    with Session(bench.engine) as session, session.begin():
        key = create_key(session, bench.user_id, "walkthrough")
    make_video(tmp_path / "clip.mp4")
    dispatcher = ChildProcess(
        "dispatcher",
        [str(Path(sys.executable).with_name("minitik")), "dispatcher"],
        log=tmp_path / "dispatcher.log",
        env={**os.environ, **environment},
        cwd=tmp_path,
        grace_seconds=30,
    )
    dispatcher.start()
    settings = Settings().model_copy(update={"nextauth_secret": SecretStr("x" * 40)})
    try:
        with serving(settings) as api:
            url = str(api.base_url).rstrip("/")
            yield {"PATH": os.environ["PATH"], "API": url, "KEY": key}
    finally:
        dispatcher.stop()
        bench.close()


@pytest.mark.parametrize(
    ("language", "program"),
    [("sh", ["bash", "-euo", "pipefail"]), ("python", [sys.executable])],
)
def test_both_stories_of_the_page_come_to_their_end(
    language: str, program: list[str], place: Mapping[str, str], tmp_path: Path
) -> None:
    """Uploaded, planned, cancelled, public, taken back: by curl and by Python."""
    story = tmp_path / f"story.{language}"
    story.write_text(_story(language))
    done = subprocess.run(
        [*program, str(story)],
        env=dict(place),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "public at http" in done.stdout
    assert re.search(r"YOUTUBE:? deleted", done.stdout), done.stdout
