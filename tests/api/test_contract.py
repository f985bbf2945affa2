"""The OpenAPI document against the running API: whatever is sent, the answer is one it tells of."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import Platform
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.settings import Settings
from tests.api.scene import Person, Scene
from tests.api.server import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# Rules that no schema holds refuse with 400 (a cursor of another listing) and 422 (a tier's limit). Signing
# out, and revoking the key that the requests are sent with, would end the test; a stream never ends; what a
# video is cannot be told in a schema (tests/api/test_direct_upload.py).
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "400", "401", "403", "404", "409", "412", "422", "429"]

# Each row of a list has an answer of its own.
[[operations]]
include-operation-id = "schedule_bulk"
checks.negative_data_rejection.enabled = false
"""
EXCLUDED = ("sign_out", "revoke_key", "read_events", "upload_directly")


@pytest.fixture
def api(
    settings: Settings, s3_endpoint: str, s3_bucket: str, mongodb_uri: str, sandbox: SandboxServer
) -> Iterator[httpx.Client]:
    """The API with every server it can have, so that no answer is 503 for want of one."""
    hosts = {name.lower(): value for name, value in sandbox.environment.items()}
    secrets = {name: SecretStr(value) for name, value in hosts.items() if "secret" in name}
    whole = {
        **hosts,
        **secrets,
        "aws_endpoint_url_s3": s3_endpoint,
        "aws_s3_bucket": s3_bucket,
        "minitik_api_requests_per_minute": 0,
        "mongodb_uri": SecretStr(mongodb_uri),
    }
    with serving(settings.model_copy(update=whole)) as client:
        yield client


def test_no_request_is_answered_otherwise_than_documented(
    api: httpx.Client,
    scene: Scene,
    admin: Person,
    settings: Settings,
    sandbox: SandboxServer,
    tmp_path: Path,
) -> None:
    """Examples, boundary values, random and stateful requests of schemathesis; every check it has."""
    vault = Vault.from_settings(settings)
    # Instagram renews no token of this day: its refusal is an answer of the platform's, 502.
    for platform in (Platform.TIKTOK, Platform.YOUTUBE):
        given = sandbox.create_account(platform.value.lower())
        scene.run(
            'UPDATE accounts SET "platformAccountId" = :identity, "accessToken" = :access, '
            '"refreshToken" = :refresh, "tokenIssuedAt" = "connectedAt" WHERE id = :id',
            id=scene.account(admin, platform),
            identity=given["platformAccountId"],
            access=vault.seal(given["accessToken"]),
            refresh=vault.seal(given["refreshToken"]) if given["refreshToken"] else None,
        )
    scene.content(admin)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    excluded = [part for name in EXCLUDED for part in ("--exclude-operation-id", name)]
    result = subprocess.run(
        [
            *(str(SCHEMATHESIS), "run", f"{api.base_url}/openapi.json"),
            *("--header", f"Authorization: {admin.headers['Authorization']}"),
            *("--max-examples", "25", "--seed", "7", "--no-color", *excluded),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-30_000:] + result.stderr
