"""How a test connects an account, and eyes on what is stored of it."""

import json
from pathlib import Path
from typing import Any, cast

import httpx
from sqlalchemy.orm import Session

from minitik_dagster.accounts.oauth_flow import begin
from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import Platform
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.settings import Settings
from tests.api.consent import decide
from tests.api.scene import Person, Scene

KEY = "ab" * 32
PLATFORMS = list(Platform)
VECTORS = Path(__file__).parents[2] / "data" / "token_vectors.json"
LEGACY: dict[str, str] = json.loads(VECTORS.read_text())["valid"][0]
LIVES = {"TIKTOK": 7_200, "INSTAGRAM": 5_184_000, "YOUTUBE": 3_600}


def initiate(api: httpx.Client, person: Person, platform: Platform, **body: str) -> dict[str, Any]:
    answer = api.post(
        "/api/accounts/initiate",
        json={"provider": platform.value.lower(), **body},
        headers=person.headers,
    )
    assert answer.status_code == 200, answer.text
    return cast("dict[str, Any]", answer.json())


def connect(
    api: httpx.Client, person: Person, platform: Platform, account: str = "", **body: str
) -> dict[str, Any]:
    back = decide(initiate(api, person, platform, **body)["authorizationUrl"], account=account)
    answer = api.get(back.path)
    assert answer.status_code == 200, answer.text
    return cast("dict[str, Any]", answer.json())


def sandbox_account(sandbox: SandboxServer, platform: Platform, **details: object) -> str:
    made = sandbox.create_account(platform.value.lower(), **details)
    return cast("str", made["platformAccountId"])


def opened(scene: Scene, account_id: str) -> dict[str, Any]:
    """An account's row with its tokens in plain text."""
    [row] = scene.rows("SELECT * FROM accounts WHERE id = :id", id=account_id)
    vault = Vault([bytes.fromhex(KEY), bytes.fromhex(LEGACY["key"])])
    for name in ("accessToken", "refreshToken"):
        row[name] = vault.open(row[name]) if row[name] else row[name]
    return row


def refused(answer: httpx.Response, code: str) -> None:
    """The answer is a problem of this code that says what to do."""
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem = answer.json()
    assert problem["code"] == code
    assert problem["type"] == "/problems/not-connected"
    assert problem["errors"][0]["fix"]


def flows(
    scene: Scene, settings: Settings, person: Person, platform: Platform, n: int
) -> list[str]:
    """Flows begun at once; not by HTTP, where five a minute are allowed."""
    with Session(scene.engine) as session, session.begin():
        return [begin(session, settings, person.id, platform).authorization_url for _ in range(n)]
