"""A whole system as an environment: healthy, and what breaks it."""

import os
from collections.abc import Mapping
from pathlib import Path

from minitik_dagster.local.servers.sandbox import SandboxServer

KEY = "ab" * 32


def healthy(
    *,
    database_url: str,
    redis_url: str,
    mongodb_uri: str,
    mongodb_name: str,
    s3_endpoint: str,
    s3_bucket: str,
    sandbox: SandboxServer,
    home: Path,
) -> Mapping[str, str]:
    """The environment of a system that works, without Dagster."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "MONGODB_URI": mongodb_uri,
        "MONGODB_DB": mongodb_name,
        "AWS_ENDPOINT_URL_S3": s3_endpoint,
        "AWS_S3_BUCKET": s3_bucket,
        "AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
        "ENCRYPTION_KEY": KEY,
        "NEXTAUTH_SECRET": "x" * 40,
        "DAGSTER_POSTGRES_URL": database_url.replace("/test_", "/dagster_"),
        "MINITIK_HOME": str(home),
        **sandbox.environment,
    }
