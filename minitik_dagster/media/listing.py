"""Walking through the bucket's objects; needs the right s3:ListBucket, which publishing does not."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from botocore.exceptions import BotoCoreError, ClientError

from minitik_dagster.errors import DependencyDownError
from minitik_dagster.media.object_store import ObjectStore


@dataclass(frozen=True)
class Listed:
    """An object as a listing tells it; `size` in bytes."""

    key: str
    size: int
    modified_at: datetime


def list_objects(store: ObjectStore, prefix: str) -> Iterator[Listed]:
    """Yield the objects below a prefix; DependencyDownError where the store or our rights do not list."""
    pages = store.client.get_paginator("list_objects_v2").paginate(
        Bucket=store.bucket, Prefix=prefix
    )
    try:
        for page in pages:
            for item in page.get("Contents", []):
                yield Listed(item["Key"], item["Size"], item["LastModified"])
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        raise DependencyDownError(
            "s3", f"the object store refused ListObjectsV2 ({code}); grant s3:ListBucket"
        ) from None
    except (BotoCoreError, OSError) as error:
        raise DependencyDownError(
            "s3", f"the object store does not answer ({type(error).__name__})"
        ) from None
