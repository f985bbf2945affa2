"""The bucket as a Dagster resource: it carries settings, the store is made where it is used."""

from functools import lru_cache
from typing import Any, Self

from dagster_aws.s3 import S3Resource
from pydantic import Field, SecretStr

from minitik_dagster.errors import ConfigurationError
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.settings import Settings


def kept_store(settings: Settings) -> ObjectStore:
    """Return a store that a sensor's process keeps: building its client takes longer than a question.

    Raises ConfigurationError when no bucket is configured.
    """
    return _kept(
        settings.aws_s3_bucket,
        settings.aws_region,
        settings.aws_endpoint_url_s3,
        settings.aws_access_key_id,
        settings.aws_secret_access_key,
    )


@lru_cache(maxsize=2)
def _kept(
    bucket: str | None,
    region: str,
    endpoint_url: str | None,
    access_key_id: SecretStr | None,
    secret_access_key: SecretStr | None,
) -> ObjectStore:
    if not bucket:
        raise ConfigurationError(["AWS_S3_BUCKET is not set; `minitik up` starts a local S3"])
    return ObjectStore(
        bucket=bucket,
        region=region,
        endpoint_url=endpoint_url,
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
    )


class ObjectStoreResource(S3Resource):
    """dagster-aws' S3 resource for our bucket, signing with SigV4.

    The parent's own client signs presigned URLs with SigV2 in us-east-1, which leaves the length
    unsigned; its key fields stay empty, as run configuration is kept for ever: the SDK finds the
    credentials in the environment.
    """

    bucket: str = Field(description="The bucket's name (AWS_S3_BUCKET).")
    public_base_url: str | None = Field(
        default=None,
        description="Gateway through which platforms fetch media (MEDIA_PUBLIC_BASE_URL).",
    )

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Take bucket, region and endpoints from the environment; no bucket yet is no error."""
        return cls(
            bucket=settings.aws_s3_bucket or "",
            region_name=settings.aws_region,
            endpoint_url=settings.aws_endpoint_url_s3,
            public_base_url=settings.media_public_base_url,
        )

    def store(self) -> ObjectStore:
        """Make the store; raises ConfigurationError when no bucket is configured."""
        if not self.bucket:
            raise ConfigurationError(["AWS_S3_BUCKET is not set; `minitik up` starts a local S3"])
        return self._store()

    def _store(self) -> ObjectStore:
        return ObjectStore(
            bucket=self.bucket,
            region=self.region_name or "us-east-1",
            endpoint_url=self.endpoint_url,
            public_base_url=self.public_base_url,
        )

    def get_client(self) -> Any:
        """Return the store's boto3 client, signing s3v4."""
        return self._store().client
