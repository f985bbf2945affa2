"""The bucket: what is signed, what its failures become."""

import socket
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from pydantic import SecretStr

from minitik_dagster.errors import ConfigurationError, DependencyDownError
from minitik_dagster.media.object_store import (
    ObjectStore,
    PartsRefusedError,
    StoredPart,
    UploadGoneError,
)
from minitik_dagster.resources.object_store import ObjectStoreResource
from minitik_dagster.settings import Settings


def _signed(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def test_a_part_url_signs_the_length_with_sigv4_for_one_hour(store: ObjectStore) -> None:
    """contracts.md, S3: part URLs sign the length, presigned URLs live 1 h."""
    signed = _signed(store.presign_part("content/u/c/v.mp4", "upload", 3, 1234))
    assert signed["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert signed["X-Amz-SignedHeaders"].split(";") == ["content-length", "host"]
    assert signed["X-Amz-Expires"] == "3600"
    assert signed["partNumber"] == "3"


def test_an_object_goes_up_in_parts_and_is_read_by_ranges(store: ObjectStore) -> None:
    """Multipart, HEAD and ranged reads work against the embedded server."""
    data = bytes(range(256)) * 30_000  # 7.3 MiB
    upload = store.create_multipart("content/u/c/v.mp4", "video/mp4")
    first, second = data[: 5 * 2**20], data[5 * 2**20 :]
    parts = []
    for number, part in ((1, first), (2, second)):
        url = store.presign_part("content/u/c/v.mp4", upload, number, len(part))
        parts.append(StoredPart(number, httpx2.put(url, content=part).headers["ETag"].strip('"')))
    store.complete("content/u/c/v.mp4", upload, parts)
    stored = store.head("content/u/c/v.mp4")
    assert stored is not None
    assert stored.size == len(data)
    assert store.read("content/u/c/v.mp4", 5 * 2**20 - 3, 6) == first[-3:] + second[:3]
    assert store.read("content/u/c/v.mp4", len(data) - 2, 100) == data[-2:]
    assert store.read("content/u/c/v.mp4", len(data), 100) == b""
    assert httpx2.get(store.presign_get("content/u/c/v.mp4")).content == data


def test_a_wrong_part_is_refused_with_the_stores_own_code(store: ObjectStore) -> None:
    """The store compares the ETags when it assembles."""
    upload = store.create_multipart("k.mp4", "video/mp4")
    httpx2.put(store.presign_part("k.mp4", upload, 1, 3), content=b"abc")
    with pytest.raises(PartsRefusedError) as refused:
        store.complete("k.mp4", upload, [StoredPart(1, "0" * 32)])
    assert refused.value.code == "InvalidPart"


def test_an_aborted_upload_is_gone_and_aborting_twice_is_no_error(store: ObjectStore) -> None:
    """Abort is safe to repeat."""
    upload = store.create_multipart("k.mp4", "video/mp4")
    store.abort("k.mp4", upload)
    store.abort("k.mp4", upload)
    with pytest.raises(UploadGoneError):
        store.complete("k.mp4", upload, [StoredPart(1, "0" * 32)])


def test_a_store_that_cannot_list_parts_says_so_with_none(store: ObjectStore) -> None:
    """contracts.md, S3: completion then falls back to the client's ETags and a HEAD."""
    upload = store.create_multipart("k.mp4", "video/mp4")
    assert store.list_parts("k.mp4", upload) is None


def test_parts_are_listed_over_several_pages(listing_store: ObjectStore) -> None:
    """A listing that is cut off is gone on with; an unknown upload is said to be gone."""
    upload = listing_store.create_multipart("k.mp4", "video/mp4")
    for number in (1, 2, 3, 4, 5):
        url = listing_store.presign_part("k.mp4", upload, number, number)
        httpx2.put(url, content=b"x" * number)
    listed = listing_store.list_parts("k.mp4", upload)
    assert listed is not None
    assert [(part.number, part.size) for part in listed] == [(n, n) for n in range(1, 6)]
    listing_store.abort("k.mp4", upload)
    with pytest.raises(UploadGoneError):
        listing_store.list_parts("k.mp4", upload)


def test_what_is_not_there_is_none_and_deleting_it_is_no_error(store: ObjectStore) -> None:
    """HEAD and DELETE of a missing object."""
    assert store.head("nothing.mp4") is None
    store.put("thumbnails/u/c/thumbnail.jpg", b"jpeg", "image/jpeg")
    store.copy("thumbnails/u/c/thumbnail.jpg", "copy.jpg", "image/jpeg")
    assert store.read("copy.jpg", 0, 10) == b"jpeg"
    store.delete("copy.jpg")
    assert store.head("copy.jpg") is None


def test_a_store_that_is_down_is_named_without_urls_and_keys(dead_store: ObjectStore) -> None:
    """Every call says DependencyDownError('s3'); its text carries neither address nor key."""
    for call in (
        lambda: dead_store.create_multipart("content/secret.mp4", "video/mp4"),
        lambda: dead_store.head("content/secret.mp4"),
        dead_store.check,
    ):
        with pytest.raises(DependencyDownError) as down:
            call()
        assert down.value.dependency == "s3"
        assert "127.0.0.1" not in str(down.value)
        assert "secret" not in str(down.value)
        assert down.value.__cause__ is None


def test_a_missing_bucket_is_the_stores_failure(s3_endpoint: str) -> None:
    """A bucket that is not there is no answer a caller could act on."""
    store = ObjectStore(bucket="not-there", endpoint_url=s3_endpoint)
    with pytest.raises(DependencyDownError, match="minitik doctor"):
        store.create_multipart("k.mp4", "video/mp4")


def test_platforms_fetch_through_the_public_gateway() -> None:
    """contracts.md, Environment: URLs are signed for MEDIA_PUBLIC_BASE_URL's host."""
    store = ObjectStore(
        bucket="b",
        endpoint_url="http://127.0.0.1:1",
        public_base_url="https://media.example.test",
        access_key_id=SecretStr("key"),
        secret_access_key=SecretStr("hidden"),
    )
    url = store.presign_fetch("content/u/c/v.mp4", timedelta(hours=24))
    assert url.startswith("https://media.example.test/b/content/u/c/v.mp4?")
    assert _signed(url)["X-Amz-Expires"] == "86400"
    assert store.presign_get("content/u/c/v.mp4").startswith("http://127.0.0.1:1/")
    assert "hidden" not in repr(store)


@pytest.mark.parametrize(
    ("bucket", "start"),
    [
        ("clips", "https://clips.s3.eu-central-1.amazonaws.com/k?"),
        ("clips.example", "https://s3.eu-central-1.amazonaws.com/clips.example/k?"),
    ],
)
def test_amazons_urls_name_the_buckets_region(bucket: str, start: str) -> None:
    """The global host redirects young buckets, and no signature survives a redirect."""
    store = ObjectStore(bucket=bucket, region="eu-central-1")
    assert store.presign_get("k").startswith(start)


def test_keys_of_the_settings_sign_and_no_url_outlives_a_week() -> None:
    """SigV4 allows seven days at most; a longer wish is cut."""
    settings = Settings(
        aws_s3_bucket="b",
        aws_access_key_id=SecretStr("AKIDFROMSETTINGS"),
        aws_secret_access_key=SecretStr("x"),
    )
    signed = _signed(ObjectStore.from_settings(settings).presign_get("k", timedelta(days=30)))
    assert signed["X-Amz-Credential"].startswith("AKIDFROMSETTINGS/")
    assert signed["X-Amz-Expires"] == str(7 * 86_400)
    with pytest.raises(ConfigurationError, match="AWS_S3_BUCKET"):
        ObjectStore.from_settings(Settings())


def test_the_dagster_resource_signs_sigv4_and_holds_no_keys(
    s3_endpoint: str, s3_bucket: str
) -> None:
    """contracts.md, S3: the resource subclasses dagster-aws', s3v4, key fields empty."""
    settings = Settings(aws_s3_bucket=s3_bucket, aws_endpoint_url_s3=s3_endpoint)
    resource = ObjectStoreResource.from_settings(settings)
    assert resource.aws_access_key_id is None
    assert resource.aws_secret_access_key is None
    url = resource.get_client().generate_presigned_url(
        "get_object", Params={"Bucket": s3_bucket, "Key": "k"}
    )
    assert _signed(url)["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    resource.store().put("k", b"1", "text/plain")
    assert resource.store().read("k", 0, 1) == b"1"
    with pytest.raises(ConfigurationError, match="AWS_S3_BUCKET"):
        ObjectStoreResource.from_settings(Settings()).store()


def test_a_shown_url_reads_the_object_and_is_kept(store: ObjectStore) -> None:
    """Signed beside boto3's own way: the same address and fields, whatever the key's letters."""
    key = "thumbnails/u/c/a ~b+\u00fc&x=1.jpg"
    store.put(key, b"picture", "image/jpeg")
    url = store.shown.url(key)
    assert httpx2.get(url).content == b"picture"
    assert store.shown.url(key) == url
    theirs = _signed(store.presign_get(key))
    ours = _signed(url)
    assert ours.keys() == theirs.keys()
    changing = {"X-Amz-Date", "X-Amz-Signature"}
    assert all(ours[name] == theirs[name] for name in ours.keys() - changing)
    assert url.partition("?")[0] == store.presign_get(key).partition("?")[0]


@pytest.mark.timeout(20)
def test_whoever_only_asks_waits_for_its_patience_and_no_longer() -> None:
    """A bucket that takes connections and says nothing must not hold `/readyz` or `doctor` up."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        store = ObjectStore(
            bucket="videos",
            endpoint_url=f"http://127.0.0.1:{hole.getsockname()[1]}",
            access_key_id=SecretStr("key"),
            secret_access_key=SecretStr("secret"),
            patience=0.2,
        )
        with pytest.raises(DependencyDownError, match="ReadTimeoutError"):
            store.check()
