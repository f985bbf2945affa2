"""Presigned reads for pages that show many objects, again and again: a library's thumbnails."""

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest

if TYPE_CHECKING:
    from minitik_dagster.media.object_store import ObjectStore

LIFETIME_SECONDS: Final = 3_600
_QUARTER_SECONDS: Final = 900
_KEPT: Final = 20_000
_ANY_KEY: Final = "k"


class ShownUrls:
    """URLs of one bucket's objects; each is kept for a quarter of an hour and holds for 45 minutes at least.

    Signed by botocore's own signer at the address that boto3 gave once: a third of the time of its
    `generate_presigned_url`, which works the address out anew for each (boto3 documentation, "Presigned
    URLs"). Credentials that end themselves sign each URL anew: it might outlive them.
    """

    def __init__(self, store: "ObjectStore") -> None:
        self._store = store
        self._base = ""
        self._kept = lru_cache(_KEPT)(self._sign)

    def url(self, key: str) -> str:
        """Return a URL that reads the object."""
        return self._kept(key, int(time.time() // _QUARTER_SECONDS))

    def _sign(self, key: str, _quarter: int) -> str:
        if not self._base:
            # Builds the client, which looks for the credentials.
            self._base = self._store.presign_get(_ANY_KEY).partition("?")[0].removesuffix(_ANY_KEY)
        credentials = self._store.credentials()
        if credentials is None:
            self._kept.cache_clear()
            return self._store.presign_get(key)
        request = AWSRequest("GET", self._base + quote(key, safe="/~"))
        region = self._store.client.meta.region_name
        frozen = credentials.get_frozen_credentials()
        S3SigV4QueryAuth(frozen, "s3", region, expires=LIFETIME_SECONDS).add_auth(request)
        return str(request.url)
