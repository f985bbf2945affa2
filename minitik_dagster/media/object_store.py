"""The bucket: one client, signed with SigV4, and the few calls that uploads and publishing need.

Every failure of the store becomes `DependencyDownError('s3', …)`, except the answers a caller can
act on, which have classes of their own below. No error text carries a presigned URL or a key.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, Self

import boto3
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from minitik_dagster.errors import ConfigurationError, DependencyDownError
from minitik_dagster.media.shown_urls import ShownUrls
from minitik_dagster.media.store_client import client_config
from minitik_dagster.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PRESIGNED_LIFETIME = timedelta(hours=1)
SIGV4_MAX_LIFETIME = timedelta(days=7)  # Amazon S3 user guide, "Presigned URLs"
_LIST_PAGE_MAX = 100  # 100 pages of 1,000 parts: beyond the 10,000 parts S3 allows
_CANNOT_LIST = {"NotImplemented", "AccessDenied", "MethodNotAllowed", "501", "403", "405"}
_MISSING = {"NoSuchKey", "404", "NotFound"}
# For the question whether the bucket is there: who asks it must not be held up.
_CHECK_SECONDS = 2.0


class UploadGoneError(Exception):
    """The store knows no such multipart upload: it was completed, aborted or never begun."""


class PartsRefusedError(Exception):
    """The store refuses to assemble these parts; `code` is its own (InvalidPart and its kin)."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


@dataclass(frozen=True)
class StoredPart:
    """A part of a multipart upload; `size` in bytes, None where only the client told of it."""

    number: int
    etag: str
    size: int | None = None


@dataclass(frozen=True)
class StoredObject:
    """An object as HEAD tells it."""

    size: int
    etag: str
    content_type: str


class ObjectStore:
    """One bucket of an S3 server. Nothing connects, and no client is built, before the first use.

    With `endpoint_url` buckets are addressed by path (self-hosted servers); keys are optional, the
    SDK's own chain (environment, profile, instance role) is asked otherwise. `public_base_url` is a
    gateway through which platforms fetch media: their URLs are signed for that host, the bucket being
    the first part of the path. `patience` in seconds: see `client_config`.
    """

    def __init__(
        self,
        *,
        bucket: str,
        region: str = "us-east-1",
        endpoint_url: str | None = None,
        access_key_id: SecretStr | None = None,
        secret_access_key: SecretStr | None = None,
        public_base_url: str | None = None,
        patience: float | None = None,
    ) -> None:
        self.bucket = bucket
        self.region = region
        self.endpoint_url = endpoint_url
        self.public_base_url = public_base_url
        self._patience = patience
        self._access_key_id = access_key_id
        self._secret_access_key = secret_access_key
        self._lock = Lock()
        self._clients: dict[tuple[str | None, float | None], S3Client] = {}
        self._session: boto3.Session | None = None
        self._keys: dict[str, Any] = {}
        self.shown = ShownUrls(self)

    @classmethod
    def from_settings(cls, settings: Settings, patience: float | None = None) -> Self:
        """Make the store that the environment names; ConfigurationError without AWS_S3_BUCKET."""
        if not settings.aws_s3_bucket:
            raise ConfigurationError(["AWS_S3_BUCKET is not set; `minitik up` starts a local S3"])
        return cls(
            bucket=settings.aws_s3_bucket,
            region=settings.aws_region,
            endpoint_url=settings.aws_endpoint_url_s3,
            access_key_id=settings.aws_access_key_id,
            secret_access_key=settings.aws_secret_access_key,
            public_base_url=settings.media_public_base_url,
            patience=patience,
        )

    def __repr__(self) -> str:
        """Name the bucket and the endpoint, never the keys."""
        return f"ObjectStore(bucket={self.bucket!r}, endpoint_url={self.endpoint_url!r})"

    @property
    def client(self) -> "S3Client":
        """The boto3 client (safe to share between threads), built at its first use: some 0.2 s."""
        return self._client_for(self.endpoint_url)

    def warm(self) -> None:
        """Build the clients now, so that the first signature does not stop an event loop."""
        self._client_for(self.endpoint_url)
        if self.public_base_url:
            self._client_for(self.public_base_url)

    def _client_for(self, endpoint_url: str | None, patience: float | None = None) -> "S3Client":
        patience = self._patience or patience
        key = (endpoint_url, patience)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._make_client(endpoint_url, patience)
            return self._clients[key]

    def _make_client(self, endpoint_url: str | None, patience: float | None) -> "S3Client":
        self._keys = {}
        session = self._session or boto3.Session()
        if self._access_key_id is not None and self._secret_access_key is not None:
            found = session.get_credentials()
            wanted = self._access_key_id.get_secret_value()
            # The same key found by the SDK may come with a session token, which must go along.
            if found is None or found.access_key != wanted:
                self._keys = {
                    "aws_access_key_id": wanted,
                    "aws_secret_access_key": self._secret_access_key.get_secret_value(),
                }
        self._session = session
        # TLS knows no names with further dots in front of Amazon's.
        by_path = endpoint_url is not None or "." in self.bucket
        return session.client(
            "s3",
            region_name=self.region,
            endpoint_url=endpoint_url,
            config=client_config(path_addressing=by_path, patience=patience),
            **self._keys,
        )

    # Multipart uploads

    def create_multipart(self, key: str, mime_type: str) -> str:
        """Begin a multipart upload, encrypted at rest; return the store's upload id."""
        with _refusals_are_failures(), _store_errors():
            answer = self.client.create_multipart_upload(
                Bucket=self.bucket, Key=key, ContentType=mime_type, ServerSideEncryption="AES256"
            )
        return answer["UploadId"]

    def presign_part(self, key: str, upload_id: str, number: int, length: int) -> str:
        """Sign a PUT of part `number` with exactly `length` bytes, good for one hour."""
        with _store_errors():
            return self.client.generate_presigned_url(
                "upload_part",
                Params={
                    "Bucket": self.bucket,
                    "Key": key,
                    "UploadId": upload_id,
                    "PartNumber": number,
                    "ContentLength": length,
                },
                ExpiresIn=int(PRESIGNED_LIFETIME.total_seconds()),
            )

    def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> str:
        """Store a part ourselves; return its ETag."""
        with _refusals_are_failures(), _store_errors():
            answer = self.client.upload_part(
                Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body
            )
        return answer["ETag"].strip('"')

    def list_parts(self, key: str, upload_id: str) -> tuple[StoredPart, ...] | None:
        """Return what has arrived, in order; None where the store or our rights cannot list.

        Raises UploadGoneError when the store knows no such upload.
        """
        parts: list[StoredPart] = []
        marker = 0
        for _ in range(_LIST_PAGE_MAX):
            try:
                with _store_errors():
                    page = self.client.list_parts(
                        Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumberMarker=marker
                    )
            except _AnswerError as answer:
                if answer.code in _CANNOT_LIST:
                    return None
                raise answer.as_dependency_error() from None
            parts += [
                StoredPart(part["PartNumber"], part["ETag"].strip('"'), part["Size"])
                for part in page.get("Parts", [])
            ]
            if not page.get("IsTruncated"):
                break
            marker = page["NextPartNumberMarker"]
        return tuple(parts)

    def complete(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> None:
        """Assemble the parts into the object.

        Raises UploadGoneError, or PartsRefusedError when a part is missing, too small or another.
        """
        try:
            with _store_errors():
                self.client.complete_multipart_upload(
                    Bucket=self.bucket,
                    Key=key,
                    UploadId=upload_id,
                    MultipartUpload={
                        "Parts": [{"PartNumber": p.number, "ETag": f'"{p.etag}"'} for p in parts]
                    },
                )
        except _AnswerError as answer:
            if answer.status == 400:
                raise PartsRefusedError(answer.code) from None
            raise answer.as_dependency_error() from None

    def abort(self, key: str, upload_id: str) -> None:
        """Drop a multipart upload and its parts; one that is gone is no error."""
        try:
            with _store_errors():
                self.client.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
        except UploadGoneError:
            return
        except _AnswerError as answer:
            raise answer.as_dependency_error() from None

    # Objects

    def head(self, key: str) -> StoredObject | None:
        """Return size, ETag and type of an object; None when it is not there."""
        try:
            with _store_errors():
                answer = self.client.head_object(Bucket=self.bucket, Key=key)
        except _AnswerError as answer_error:
            if answer_error.code in _MISSING:
                return None
            raise answer_error.as_dependency_error() from None
        return StoredObject(
            size=answer["ContentLength"],
            etag=answer["ETag"].strip('"'),
            content_type=answer["ContentType"],
        )

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return up to `length` bytes from offset `start`; fewer only at the object's end."""
        try:
            with _store_errors():
                answer = self.client.get_object(
                    Bucket=self.bucket, Key=key, Range=f"bytes={start}-{start + length - 1}"
                )
                with answer["Body"] as body:
                    return body.read(length)
        except _AnswerError as answer_error:
            if answer_error.status == 416:
                return b""
            raise answer_error.as_dependency_error() from None

    def put(self, key: str, body: bytes, content_type: str) -> None:
        """Store a small object (thumbnails, exports), encrypted at rest."""
        with _refusals_are_failures(), _store_errors():
            self.client.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,
                ContentType=content_type,
                ServerSideEncryption="AES256",
            )

    def put_file(self, key: str, file: IO[bytes], content_type: str) -> None:
        """Stream a file of any size to an object, in parts, encrypted at rest."""
        extra = {"ContentType": content_type, "ServerSideEncryption": "AES256"}
        with _refusals_are_failures(), _store_errors():
            self.client.upload_fileobj(file, self.bucket, key, ExtraArgs=extra)

    def copy(self, source: str, target: str, content_type: str) -> None:
        """Copy an object inside the bucket, giving it a new content type."""
        with _refusals_are_failures(), _store_errors():
            self.client.copy_object(
                Bucket=self.bucket,
                Key=target,
                CopySource={"Bucket": self.bucket, "Key": source},
                ContentType=content_type,
                MetadataDirective="REPLACE",
                ServerSideEncryption="AES256",
            )

    def delete(self, key: str) -> None:
        """Delete an object; one that is gone is no error."""
        with _refusals_are_failures(), _store_errors():
            self.client.delete_object(Bucket=self.bucket, Key=key)

    def check(self) -> None:
        """Ask whether the bucket answers; DependencyDownError when it does not, within seconds."""
        with _refusals_are_failures(), _store_errors():
            self._client_for(self.endpoint_url, _CHECK_SECONDS).head_bucket(Bucket=self.bucket)

    # Presigned reads

    def presign_get(self, key: str, lifetime: timedelta = PRESIGNED_LIFETIME) -> str:
        """Sign a GET of the object for our own use; a credential, never stored."""
        return self._presign_get(self.client, key, lifetime)

    def presign_fetch(self, key: str, lifetime: timedelta) -> str:
        """Sign a GET for a platform to fetch, on the public host where one is set."""
        client = self._client_for(self.public_base_url or self.endpoint_url)
        return self._presign_get(client, key, lifetime)

    def _presign_get(self, client: "S3Client", key: str, lifetime: timedelta) -> str:
        seconds = min(lifetime, SIGV4_MAX_LIFETIME, self._credentials_life() or lifetime)
        with _store_errors():
            return client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.bucket, "Key": key},
                ExpiresIn=max(1, int(seconds.total_seconds())),
            )

    def credentials(self) -> Credentials | None:
        """Return what signs; None where there is nothing, or it ends by itself."""
        if self._keys:
            return Credentials(self._keys["aws_access_key_id"], self._keys["aws_secret_access_key"])
        if self._session is None or self._credentials_life() is not None:
            return None
        return self._session.get_credentials()

    def _credentials_life(self) -> timedelta | None:
        """Return how long temporary credentials still last: no URL outlives what signed it."""
        credentials = self._session.get_credentials() if self._session is not None else None
        expiry = getattr(credentials, "_expiry_time", None)
        return expiry - datetime.now(UTC) if isinstance(expiry, datetime) else None


class _AnswerError(Exception):
    """The store answered with an error of this code and HTTP status."""

    def __init__(self, operation: str, code: str, status: int) -> None:
        self.operation = operation
        self.code = code
        self.status = status
        super().__init__(code)

    def as_dependency_error(self) -> DependencyDownError:
        """Say it as the store's failure, for a caller that cannot act on it."""
        return DependencyDownError(
            "s3", f"The object store refused {self.operation} ({self.code}); see `minitik doctor`"
        )


@contextmanager
def _store_errors() -> Iterator[None]:
    """Turn the SDK's errors into ours, without their texts: these may hold URLs and keys."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code == "NoSuchUpload":
            raise UploadGoneError from None
        if status >= 500 and code not in _CANNOT_LIST:
            raise DependencyDownError(
                "s3", f"The object store failed on {error.operation_name} ({code}); try again soon"
            ) from None
        raise _AnswerError(error.operation_name, code, status) from None
    except (BotoCoreError, OSError) as error:
        raise DependencyDownError(
            "s3", f"The object store does not answer ({type(error).__name__}); try again soon"
        ) from None


@contextmanager
def _refusals_are_failures() -> Iterator[None]:
    """Raise DependencyDownError for any refusal: the caller has nothing to act on."""
    try:
        yield
    except _AnswerError as answer:
        raise answer.as_dependency_error() from None
    except UploadGoneError:
        raise DependencyDownError("s3", "The object store lost the upload") from None
