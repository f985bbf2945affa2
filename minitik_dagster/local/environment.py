"""The one environment that every process of a local stack gets."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import minitik_dagster
from minitik_dagster.local.endpoints import LOCAL_S3_CREDENTIALS
from minitik_dagster.local.ports import LOOPBACK
from minitik_dagster.local.sandbox.urls import APP_CREDENTIALS, PREFIXES, platform_environment
from minitik_dagster.local.secrets_file import DATABASE_PASSWORD, without_mixed_push_keys

_LOOPBACK_HOSTS = {LOOPBACK, "localhost", "::1"}


@dataclass(frozen=True)
class PlatformHosts:
    """Where the environment points the platforms: which hosts it sets, and to what."""

    set_names: frozenset[str]
    all_loopback: bool

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "PlatformHosts":
        """Look at the platform host variables of an environment."""
        given = {name: environ[name] for name in PREFIXES if environ.get(name)}
        hosts = [urlsplit(value).hostname for value in given.values()]
        return cls(frozenset(given), all(host in _LOOPBACK_HOSTS for host in hosts))

    @property
    def all_set(self) -> bool:
        """Whether no host is left to its default."""
        return self.set_names == frozenset(PREFIXES)


def control_url(environ: Mapping[str, str]) -> str | None:
    """The root of the loopback server that TIKTOK_API_BASE_URL points to; None where it is real."""
    parts = urlsplit(environ.get("TIKTOK_API_BASE_URL", ""))
    if parts.hostname not in _LOOPBACK_HOSTS:
        return None
    return f"{parts.scheme}://{parts.netloc}"


def sandbox_variables(environ: Mapping[str, str], sandbox_url: str) -> dict[str, str]:
    """Point at the sandbox what the environment leaves unset; never what it sets."""
    wanted = platform_environment(sandbox_url) | APP_CREDENTIALS
    return {name: value for name, value in wanted.items() if not environ.get(name)}


def child_environment(
    environ: Mapping[str, str],
    *,
    data_dir: Path,
    dagster_home: Path,
    secrets: Mapping[str, str],
    api_url: str,
    code_server_port: int,
    servers: Mapping[str, str],
    embedded_s3: bool,
    admin_email: str | None,
) -> dict[str, str]:
    """Build the environment of every process: what the caller set, then ours where it is unset.

    `servers` are the variables of the servers that were started (they were unset before).
    """
    given = {name: value for name, value in environ.items() if value}
    ours = without_mixed_push_keys(secrets, given)
    ours.pop(DATABASE_PASSWORD, None)
    ours["NEXTAUTH_URL"] = api_url
    if embedded_s3:
        ours |= LOCAL_S3_CREDENTIALS | {"AWS_EC2_METADATA_DISABLED": "true"}
    result = ours | given | dict(servers)
    if admin_email is not None:
        admins = [part for part in given.get("ADMIN_EMAILS", "").split(",") if part.strip()]
        result["ADMIN_EMAILS"] = ",".join([*admins, admin_email])
    source = str(Path(minitik_dagster.__file__).parent.parent)
    path = [source, *(part for part in given.get("PYTHONPATH", "").split(":") if part)]
    return result | {
        "MINITIK_HOME": str(data_dir),
        "DAGSTER_HOME": str(dagster_home),
        "MINITIK_CODE_SERVER_HOST": LOOPBACK,
        "MINITIK_CODE_SERVER_PORT": str(code_server_port),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "DAGSTER_GRPC_SHUTDOWN_GRACE_PERIOD": "3",
        # The processes run in another folder, and a log must show a line when it is written.
        "PYTHONPATH": ":".join(dict.fromkeys(path)),
        "PYTHONUNBUFFERED": "1",
        "VIRTUAL_ENV": sys.prefix,
    }
