"""Connecting in a real browser: the consent page's own button, our page at the end, no leak between."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from minitik_dagster.db.types import Platform
from tests.api.chromium import Tab, chromium
from tests.api.connections.connecting import initiate
from tests.api.scene import Person, Scene


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    """A browser."""
    with chromium(tmp_path / "profile") as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.browser
def test_a_person_allows_denies_and_sees_what_came_of_it(
    api: httpx.Client, scene: Scene, person: Person, tab: Tab
) -> None:
    """Three platforms, three accounts; a denial connects none; the page's styles pass its own policy."""
    for platform, name in zip(Platform, ("TikTok", "Instagram", "YouTube"), strict=True):
        tab.open(initiate(api, person, platform)["authorizationUrl"])
        tab.wait_for("!!document.querySelector('button.allow')", "the consent page")
        assert f"Connect to {name}" in tab.text()
        tab.value("document.querySelector('button.allow').click()")
        tab.wait_for("location.pathname === '/connected'", "our page")
        tab.wait_for("document.readyState === 'complete'", "the whole page")
        assert f"{name} is connected" in tab.text()
        assert "code=" not in tab.value("location.href")
        assert tab.value("getComputedStyle(document.body).maxWidth") != "none"
    stored = scene.rows("SELECT platform, status FROM accounts ORDER BY 1")
    assert [row["status"] for row in stored] == ["CONNECTED"] * 3

    tab.open(initiate(api, person, Platform.TIKTOK)["authorizationUrl"])
    tab.wait_for("!!document.querySelector('button[value=deny]')", "the consent page")
    tab.value("document.querySelector('button[value=deny]').click()")
    tab.wait_for("location.search.includes('refused=access_denied')", "our page")
    tab.wait_for("document.readyState === 'complete'", "the whole page")
    assert "The permission was denied on TikTok's page" in tab.text()
    assert len(scene.rows("SELECT id FROM accounts")) == 3
