"""The sandbox's page in a real browser: what is public is shown, as text and nothing else."""

import shutil
import subprocess
from pathlib import Path

import pytest

from .apps import TikTokApp, YouTubeApp
from .conftest import SandboxProcess, wait_until

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--virtual-time-budget=5000",
)  # fmt: skip


def page_as_rendered(url: str, profile: Path) -> str:
    """The document after its scripts have run."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    assert found, "Chromium is missing; install it: apt-get install chromium"
    done = subprocess.run(
        [found, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", url],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    return done.stdout


@pytest.mark.slow
@pytest.mark.browser
def test_what_is_public_is_shown_and_a_title_stays_text(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """A title that looks like a script is read, not run; a private video is not there."""
    creator = TikTokApp(sandbox, sandbox.account("tiktok", username="browser_creator"))
    publish_id, url = creator.opened(title="a day <img src=x onerror=document.title='run'> out")
    assert creator.put(url).status_code == 201
    wait_until(lambda: bool(sandbox.posts_of(creator.account)), "the public post")
    channel = YouTubeApp(sandbox, sandbox.account("youtube"))
    private = channel.uploaded()

    page = page_as_rendered(f"{sandbox.base}/", tmp_path / "profile")

    assert creator.status(publish_id)["status"] == "PUBLISH_COMPLETE"
    assert sandbox.posts_of(creator.account)[0]["id"] in page
    assert "browser_creator" in page
    assert "a day &lt;img src=x" in page
    assert "<img src=x" not in page
    assert private not in page
