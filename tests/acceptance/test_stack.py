"""`minitik up` and `minitik demo`, end to end, as a newcomer runs them."""

import base64
import json
import signal
import stat
import subprocess
import time
from typing import Any

import httpx
import pytest

from .stack import clean_environment, ended, get, home_folder, living, minitik, start_stack
from .stack import up_arguments as up

KEYS = {
    *("api", "dagster", "sandbox", "databaseUrl", "redisUrl", "mongodbUri"),
    *("s3Endpoint", "s3Bucket", "apiKey", "adminApiKey"),
}
SECOND_START_SECONDS = 120.0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_video_goes_public_and_the_stack_survives_a_crash_and_stops_without_a_trace() -> None:
    """First start, demo, `kill -9`, second start with everything kept, SIGTERM: one story.

    It is one test so that the stack is started twice and not once per promise.
    """
    with home_folder() as home:
        folder = home / "data"
        first = start_stack(folder)
        try:
            check_endpoints(first.endpoints, folder)
            refused = run(up(folder))
            assert refused.returncode == 1
            assert "already runs" in one_line(refused.stderr)

            shown = run(minitik("demo", "--json", "--data-dir", str(folder)))
            assert shown.returncode == 0, shown.stderr
            result = json.loads(shown.stdout)
            check_demo(result, first.endpoints)
            check_events(first.endpoints)
            check_push(first.endpoints)

            running = runs_of(first.endpoints, "STARTED")
            assert running, "the demo's dispatcher lives on for two minutes"
            family = first.family()
            assert len(family) >= 9
            first.process.kill()
            first.process.wait()
            assert ended(family), living(family)
        finally:
            first.process.kill()
            first.process.wait()

        second = start_stack(folder)
        try:
            assert second.seconds_to_start < SECOND_START_SECONDS
            check_kept(result, second.endpoints)
            check_failed(running, second.endpoints)
            family = second.family()
            second.process.send_signal(signal.SIGTERM)
            assert second.process.wait(timeout=60) == 0
            assert living(family) == []
            assert not (folder / "endpoints.json").exists()
        finally:
            second.process.kill()
            second.process.wait()


def check_events(endpoints: dict[str, Any]) -> None:
    """The sandbox's TikTok told the API of the post, and every event was taken."""
    deliveries = json.loads(get(f"{endpoints['sandbox']}/_sandbox/events")[1])["deliveries"]
    assert "post.publish.complete" in {delivery["event"] for delivery in deliveries}
    assert {delivery["status"] for delivery in deliveries} == {200}


def check_push(endpoints: dict[str, Any]) -> None:
    """Browsers can subscribe without anything configured."""
    address = f"{endpoints['api']}/api/notifications/push-key"
    status, body = get(address, endpoints["apiKey"])
    assert status == 200, body
    key = json.loads(body)["publicKey"]
    assert len(base64.urlsafe_b64decode(key + "=" * (-len(key) % 4))) == 65


def check_endpoints(endpoints: dict[str, Any], folder: Any) -> None:
    """Every key is there, private, and every address answers."""
    assert set(endpoints) == KEYS
    assert all(endpoints.values())
    assert stat.S_IMODE((folder / "endpoints.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "secrets.env").stat().st_mode) == 0o600
    assert get(f"{endpoints['api']}/readyz")[0] == 200
    assert get(f"{endpoints['dagster']}/server_info")[0] == 200
    assert get(f"{endpoints['sandbox']}/")[0] == 200
    status, body = get(f"{endpoints['api']}/api/accounts", endpoints["apiKey"])
    assert status == 200
    platforms = {account["platform"] for account in json.loads(body)["accounts"]}
    assert platforms == {"TIKTOK", "INSTAGRAM", "YOUTUBE"}


def check_demo(result: dict[str, Any], endpoints: dict[str, Any]) -> None:
    """Exactly one public post per platform holds the file, each on time; asked independently."""
    assert result["ok"] is True
    posts = json.loads(get(f"{endpoints['sandbox']}/_sandbox/posts")[1])["posts"]
    mine = [post for post in posts if post["sha256"] == result["sha256"]]
    assert sorted(post["platform"] for post in mine) == ["instagram", "tiktok", "youtube"]
    assert all(0 <= post["latenessMs"] <= 5000 for post in result["posts"])


def check_kept(result: dict[str, Any], endpoints: dict[str, Any]) -> None:
    """After a crash and a new start the posts are still known, and nothing went out again."""
    status, body = get(
        f"{endpoints['api']}/api/publishing/{result['contentId']}", endpoints["apiKey"]
    )
    assert status == 200
    assert {item["stage"] for item in json.loads(body)["publications"]} == {"live"}
    posts = json.loads(get(f"{endpoints['sandbox']}/_sandbox/posts")[1])["posts"]
    assert sum(post["sha256"] == result["sha256"] for post in posts) == 3


def check_failed(run_ids: set[str], endpoints: dict[str, Any]) -> None:
    """What the crash left in progress is soon marked as failed: it would hold its slot for 20 minutes."""
    deadline = time.monotonic() + 60
    while not run_ids <= runs_of(endpoints, "FAILURE"):
        assert time.monotonic() < deadline, run_ids
        time.sleep(0.3)


def runs_of(endpoints: dict[str, Any], status: str) -> set[str]:
    """Ids of Dagster's runs in a status."""
    query = f"{{ runsOrError(filter: {{statuses: [{status}]}}) {{ ... on Runs {{ results {{ id }} }} }} }}"
    answer = httpx.post(
        f"{endpoints['dagster']}/graphql", json={"query": query}, timeout=30, trust_env=False
    )
    return {item["id"] for item in answer.json()["data"]["runsOrError"]["results"]}


def run(arguments: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=200,
        check=False,
    )


def one_line(text: str) -> str:
    assert len(text.strip().splitlines()) == 1, text
    return text
