"""No secret anywhere: a whole stack is used well and badly, then all it has written is searched."""

import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from minitik_dagster.local.data_folder import DataFolder
from minitik_dagster.local.endpoints import environment_beside
from minitik_dagster.local.secrets_file import DATABASE_PASSWORD, read_secrets
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.notifications.mail import PRINTED
from tests.publishing.kill_harness import QUICK_PLATFORMS

from . import secrets_places as places
from .secrets_journey import Journey, password_of
from .secrets_search import Finding, Secret, search
from .stack import RunningStack, clean_environment, home_folder, start_stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("secrets")]
# What must have been seen, or the scan has looked for nothing.
KINDS = {
    *("access token", "refresh token", "authorization code", "PKCE verifier", "OAuth state"),
    *("client secret", "upload URL", "session URI", "presigned URL", "API key", "sign-in link"),
    *("session cookie", "planted", "ENCRYPTION_KEY", "ENCRYPTION_KEY_PREVIOUS"),
    *("AWS_SECRET_ACCESS_KEY", "database password", "NEXTAUTH_SECRET", "RESEND_API_KEY"),
    "VAPID_PRIVATE_KEY",
}
# Parts of the data folder that are not searched, each with its reason.
NOT_OURS = {
    "secrets.env": "where the keys are kept (mode 0600)",
    "endpoints.json": "the addresses with the keys of a running stack (mode 0600), gone at its end",
    "sandbox": "the platforms' own memory: their upload keys",
    "s3": "the object store's own: media",
    "spool": "videos on their way to a platform: media",
}


def planted_environment() -> dict[str, str]:
    """Secrets of our own for everything that can be configured."""
    return {
        "ENCRYPTION_KEY": secrets.token_hex(32),
        "ENCRYPTION_KEY_PREVIOUS": secrets.token_hex(32),
        "NEXTAUTH_SECRET": secrets.token_urlsafe(32),
        "AWS_ACCESS_KEY_ID": "AKIAPLANTED",
        "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
        "RESEND_API_KEY": f"re_{secrets.token_urlsafe(24)}",
        "EMAIL_FROM": "minitik@example.org",
        "VAPID_PRIVATE_KEY": secrets.token_urlsafe(32),
        "TIKTOK_CLIENT_SECRET": secrets.token_urlsafe(24),
        "INSTAGRAM_CLIENT_SECRET": secrets.token_hex(16),
        "GOOGLE_CLIENT_SECRET": f"GOCSPX-{secrets.token_urlsafe(21)}",
        # Refreshes one after the other.
        "MINITIK_REFRESH_MIN_SECONDS": "0",
    }


@dataclass
class Searched:
    """What was looked for, what was looked at, and what was found where it must not be."""

    known: list[Secret]
    rows: dict[str, int]
    findings: list[Finding]
    stages: list[dict[str, str]]
    proof: list[Finding]


@pytest.fixture(scope="module")
def searched() -> Iterator[Searched]:
    """One stack, one journey, one search."""
    with home_folder() as home:
        planted = planted_environment()
        stack = start_stack(home / "data", planted)
        try:
            yield _travel_and_search(home, stack, planted)
        finally:
            stack.process.kill()
            stack.process.wait()


def _travel_and_search(home: Path, stack: RunningStack, planted: dict[str, str]) -> Searched:
    folder = DataFolder(home / "data")
    port = urlsplit(stack.endpoints["sandbox"]).port
    assert port is not None
    sandbox = SandboxServer(home / "unused", port=port)
    journey = Journey(
        api_url=stack.endpoints["api"],
        dagster_url=stack.endpoints["dagster"],
        database_url=stack.endpoints["databaseUrl"],
        sandbox=sandbox,
        output=home / "data.out",
        evidence=home / "evidence",
        environment=clean_environment() | environment_beside(folder) | planted,
        keys=(stack.endpoints["apiKey"], stack.endpoints["adminApiKey"]),
    )
    password = read_secrets(folder.secrets_file)[DATABASE_PASSWORD]
    for name, value in planted.items():
        if name.endswith("_CLIENT_SECRET"):
            journey.learn("client secret", value)
        elif len(value) > 20:
            journey.learn(name, value)
    journey.learn("database password", password)
    assert password_of(journey.database_url) == password
    for key in journey.keys:
        journey.learn("API key", key)
    try:
        stages = travel(journey, planted)
        rows: dict[str, int] = {}
        evidence = home / "evidence"
        for name in ("minitik", "dagster"):
            url = journey.database_url.rpartition("/")[0] + f"/{name}"
            rows |= places.write_database(evidence / f"database {name}", url)
        rows["redis"] = places.write_redis(evidence, stack.endpoints["redisUrl"])
        places.write_mongo(evidence / "mongo", stack.endpoints["mongodbUri"])
        places.write_processes(evidence, stack.family())
        told = [Secret(item["kind"], item["value"]) for item in sandbox.secrets()]
    finally:
        journey.close()
    # Servers write what they still hold at their end.
    stack.process.send_signal(signal.SIGTERM)
    assert stack.process.wait(timeout=60) == 0
    known = journey.known + told
    without = [folder.path / name for name in NOT_OURS]
    findings = [
        finding
        for finding in search(known, [home], without=without)
        if not may_stand(finding, home)
    ]
    proof = search(known, [folder.secrets_file, folder.path / "sandbox", evidence / "shown once"])
    return Searched(known, rows, findings, stages, proof)


def travel(journey: Journey, planted: dict[str, str]) -> list[dict[str, str]]:
    """The journey itself; returns the stages of the posts of each content."""
    sandbox = journey.sandbox
    sandbox.set_limits(**QUICK_PLATFORMS)
    browser = journey.sign_in()
    program = journey.make_key(browser)
    for platform in ("tiktok", "instagram", "youtube"):
        journey.connect(browser, platform, page=platform == "instagram")
    privacy = {"defaultPrivacy": "PUBLIC_TO_EVERYONE"}
    tiktok = journey.accounts["tiktok"]
    journey.ask("PATCH", f"/api/accounts/{tiktok}", json=privacy, headers=browser)

    first = journey.upload(program, 1)
    journey.schedule(program, first, 2)
    second = journey.upload(program, 2)
    journey.misplace(program, browser)
    stages = [journey.follow(program, first)]

    # Platforms that refuse, that break, and one whose error repeats our own token.
    [row] = journey.rows('SELECT "platformAccountId" AS id FROM accounts WHERE id = :id', id=tiktok)
    told = [item["value"] for item in sandbox.secrets() if item["kind"] == "access token"]
    echoed = next(value for value in reversed(told) if value.startswith("act."))
    sandbox.add_fault(
        platform="tiktok", operation="init", kind="status", status=400, code=echoed, account=row.id,
        count=9,
    )  # fmt: skip
    sandbox.add_fault(
        platform="instagram",
        operation="container",
        kind="fail-processing",
        code="9/2207042",
        count=9,
    )
    sandbox.add_fault(platform="youtube", operation="session", kind="revoke")
    journey.schedule(program, second, 2)
    for account_id in journey.accounts.values():
        journey.ask("POST", f"/api/accounts/{account_id}/refresh", headers=program)
    sandbox.add_fault(platform="tiktok", operation="token", kind="status", status=500)
    journey.ask("POST", f"/api/accounts/{tiktok}/refresh", headers=program)
    stages.append(journey.follow(program, second))

    journey.run_in_dagster("refresh_tokens")
    journey.age_key(
        journey.accounts["instagram"], planted["ENCRYPTION_KEY_PREVIOUS"], planted["ENCRYPTION_KEY"]
    )
    journey.run("tokens", "rotate-key", "--json")
    for arguments in (
        ("accounts", "list", "--json"),
        ("dead-letters", "list", "--json"),
    ):
        journey.run(*arguments)
    for path in ("/api/dead-letters", "/api/queues", "/api/platforms/health", "/api/scheduling"):
        journey.ask("GET", path, headers={"Authorization": f"Bearer {journey.keys[1]}"}, expect=200)

    journey.ask("DELETE", f"/api/accounts/{tiktok}", headers=browser, expect=200)
    journey.run("accounts", "disconnect", journey.accounts["instagram"], "--json")
    gone = [tiktok, journey.accounts["instagram"]]
    empty = "SELECT 1 FROM accounts WHERE id = ANY(:ids) AND \"accessToken\" = ''"
    journey.until(lambda: len(journey.rows(empty, ids=gone)) == len(gone), "the tokens' end")
    journey.ask("POST", "/api/auth/signout", json={"everywhere": True}, headers=browser, expect=204)
    journey.ask("GET", "/api/accounts", headers=browser, expect=401)
    return stages


def may_stand(finding: Finding, home: Path) -> bool:
    """Whether this secret is shown there on purpose: each case is named here."""
    place = finding.path.relative_to(home)
    if place.parts[:2] == ("evidence", "shown once"):
        # The answer whose purpose is to show this very kind, to the person it belongs to.
        return finding.kind == place.name[4:].partition("=")[0]
    if place.name in {"data.out", "api.log"} and finding.kind == "sign-in link":
        # A local stack's mailbox is its output.
        return finding.line().startswith(PRINTED.encode())
    return False


def test_no_secret_stands_anywhere_after_a_whole_journey(searched: Searched) -> None:
    """Logs, answers, both databases as they are and as files, Redis, MongoDB, the data folder."""
    found = sorted({str(finding) for finding in searched.findings})
    assert not found, f"{len(found)} leaks:\n" + "\n".join(found[:60])


def test_the_journey_had_every_kind_of_secret_and_the_search_sees_them_where_they_may_be(
    searched: Searched,
) -> None:
    """A scan that knew no secret, searched nothing or saw nothing would pass as well."""
    assert {secret.kind for secret in searched.known} == KINDS
    seen = {finding.kind for finding in searched.proof}
    assert seen >= {"database password", "upload URL", "session URI", "API key", "OAuth state"}
    assert searched.rows["runs"] >= 2
    for table in ("event_logs", "run_tags", "instigators", "job_ticks", "asset_keys"):
        assert searched.rows[table] > 0, table
    for table in ("accounts", "handles", "publication_steps", "outbox", "oauth_states", "redis"):
        assert searched.rows[table] > 0, table
    first, second = searched.stages
    assert first == {"tiktok": "live", "instagram": "live", "youtube": "live"}
    assert "live" not in second.values()
