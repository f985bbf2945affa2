"""`POST /api/accounts/…/refresh`: the owner's account, the admin's nudge, and nobody else's."""

from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import Platform
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene
from tests.api.server import serving

KEY = "ab" * 32
VAULT = Vault([bytes.fromhex(KEY)])


@pytest.fixture
def api(settings: Settings, sandbox: SandboxServer) -> Iterator[httpx.Client]:
    """The API with the sandbox as its platforms."""
    hosts = {name.lower(): value for name, value in sandbox.environment.items()}
    secrets = {name: SecretStr(value) for name, value in hosts.items() if "secret" in name}
    with serving(
        settings.model_copy(update={"encryption_key": SecretStr(KEY), **hosts, **secrets})
    ) as client:
        yield client


def connect(scene: Scene, owner: Person, sandbox: SandboxServer, *, refresh: str = "") -> str:
    """An account of the owner's with working tokens that end now."""
    given = sandbox.create_account("tiktok")
    account = scene.account(owner, Platform.TIKTOK)
    scene.run(
        'UPDATE accounts SET "accessToken" = :access, "refreshToken" = :refresh, '
        "\"tokenExpiresAt\" = statement_timestamp() AT TIME ZONE 'UTC' WHERE id = :id",
        access=VAULT.seal(given["accessToken"]),
        refresh=VAULT.seal(refresh or given["refreshToken"]),
        id=account,
    )
    return account


def test_the_owner_refreshes_an_account_and_a_second_time_changes_nothing(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """Younger than the minimum interval: told, not done."""
    account = connect(scene, person, sandbox)
    told = api.post(f"/api/accounts/{account}/refresh", headers=person.headers)
    assert told.status_code == 200, told.text
    assert told.json()["refreshed"] is True
    assert told.json()["tokenExpiresAt"] > told.json()["refreshedAt"]
    again = api.post(f"/api/accounts/{account}/refresh", headers=person.headers)
    assert again.json()["refreshed"] is False
    assert len([call for call in sandbox.calls() if call["operation"] == "token"]) == 1


def test_anothers_account_is_not_there(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    account = connect(scene, person, sandbox)
    told = api.post(f"/api/accounts/{account}/refresh", headers=scene.person().headers)
    assert told.status_code == 404
    assert sandbox.calls() == []


def test_an_account_that_must_be_connected_anew_says_so(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """409 with the state, now and the next time."""
    account = connect(scene, person, sandbox, refresh="not-a-refresh-token")
    for _ in range(2):
        told = api.post(f"/api/accounts/{account}/refresh", headers=person.headers)
        assert told.status_code == 409, told.text
        assert told.json()["state"] in {"EXPIRED", "REVOKED"}


def test_a_platform_that_is_down_leaves_the_account_connected(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """502: nothing is lost, ask again."""
    account = connect(scene, person, sandbox)
    sandbox.add_fault(platform="tiktok", operation="token", kind="status", status=503, count=1)
    told = api.post(f"/api/accounts/{account}/refresh", headers=person.headers)
    assert told.status_code == 502
    again = api.post(f"/api/accounts/{account}/refresh", headers=person.headers)
    assert again.json()["refreshed"] is True


def test_an_admin_nudges_what_is_due_and_nobody_else_may(
    api: httpx.Client, scene: Scene, person: Person, admin: Person, sandbox: SandboxServer
) -> None:
    """Safe at any time: a second nudge finds nothing due."""
    connect(scene, person, sandbox)
    assert api.post("/api/accounts/refresh-expiring", headers=person.headers).status_code == 403
    told = api.post("/api/accounts/refresh-expiring", headers=admin.headers)
    assert (told.status_code, told.json()["refreshed"]) == (200, 1), told.text
    again = api.post("/api/accounts/refresh-expiring", headers=admin.headers)
    assert again.json()["due"] == 0
