"""`endpoints.json`: where a running stack answers, and the environment for commands beside it."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

from minitik_dagster.local.data_folder import DataFolder
from minitik_dagster.local.ports import something_listens
from minitik_dagster.local.sandbox.urls import APP_CREDENTIALS, platform_environment
from minitik_dagster.local.secrets_file import DATABASE_PASSWORD, read_secrets, write_private

# The embedded S3 checks no credentials, but clients must have some to sign with.
LOCAL_S3_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "minitik", "AWS_SECRET_ACCESS_KEY": "minitik"}


@dataclass(frozen=True)
class Endpoints:
    """What a running stack offers; None = not seeded or not started. Holds keys: never log it."""

    api: str
    dagster: str
    sandbox: str | None
    databaseUrl: str
    redisUrl: str
    mongodbUri: str
    s3Endpoint: str | None
    s3Bucket: str
    apiKey: str | None
    adminApiKey: str | None

    def __repr__(self) -> str:
        return f"Endpoints(api={self.api!r}, dagster={self.dagster!r}, sandbox={self.sandbox!r})"

    def write(self, path: Path) -> None:
        """Write the file at once, readable for its owner only."""
        write_private(path, json.dumps(asdict(self), indent=2) + "\n")


def read_endpoints(path: Path) -> Endpoints | None:
    """Read the file; None when it is not there or is not ours."""
    try:
        data = json.loads(path.read_text())
        return Endpoints(**{item.name: data[item.name] for item in fields(Endpoints)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def running_endpoints(folder: DataFolder) -> Endpoints | None:
    """The endpoints of the stack that runs in this folder now; None when none does.

    A file left by a crash does not count: the folder's lock must be held and the API listen.
    """
    found = read_endpoints(folder.endpoints_file)
    if found is None or not folder.is_owned_by_someone():
        return None
    port = urlsplit(found.api).port
    return found if port is not None and something_listens(port) else None


def environment_beside(folder: DataFolder) -> dict[str, str]:
    """The variables with which another command joins the stack that runs in `folder`.

    Empty when none runs. What the caller's own environment sets should win over these.
    """
    found = running_endpoints(folder)
    if found is None:
        return {}
    environment = {
        "DATABASE_URL": found.databaseUrl,
        "REDIS_URL": found.redisUrl,
        "MONGODB_URI": found.mongodbUri,
        "AWS_S3_BUCKET": found.s3Bucket,
        "NEXTAUTH_URL": found.api,
    }
    if found.s3Endpoint is not None:
        environment |= {"AWS_ENDPOINT_URL_S3": found.s3Endpoint, **LOCAL_S3_CREDENTIALS}
    if found.sandbox is not None:
        environment |= platform_environment(found.sandbox) | APP_CREDENTIALS
    kept = read_secrets(folder.secrets_file)
    password = kept.pop(DATABASE_PASSWORD, None)
    own = urlsplit(found.databaseUrl)
    if password is not None and own.password == password:
        # Our own server: it holds Dagster's database as well.
        environment["DAGSTER_POSTGRES_URL"] = own._replace(path="/dagster").geturl()
        environment["DAGSTER_HOME"] = str(folder.dagster_home)
    return environment | kept
