"""Redis, MongoDB and S3 under examination, by what we do with them."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pymongo
from pymongo.errors import PyMongoError

from minitik_dagster.errors import DependencyDownError
from minitik_dagster.ids import new_id
from minitik_dagster.media.object_store import ObjectStore
from minitik_dagster.operations.findings import Finding, green, red, yellow
from minitik_dagster.resilience.breaker import read_states
from minitik_dagster.resilience.connections import operator_client
from minitik_dagster.settings import Settings

COLLECTION: Final = "analytics"
EXPIRY_SECONDS: Final = 31_536_000
_SECONDS: Final = 3.0
_PROBE: Final = b"minitik doctor"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_METHODS: Final = ("PUT", "GET", "HEAD")


def redis(settings: Settings) -> Iterator[Finding]:
    """Ask Redis what the breakers and limits need of it."""
    if settings.redis_url is None:
        return
    url = settings.redis_url.get_secret_value()
    try:
        with operator_client(url) as client:
            key = f"doctor:{new_id()}"
            client.set(key, "1", ex=10)
            client.delete(key)
            facts: Mapping[str, Any] = client.info()
        states = read_states(url)
    except DependencyDownError as error:
        yield red(
            "redis",
            f"{error}: calls are allowed, breakers and limits count per process",
            "start it, or correct REDIS_URL",
        )
        return
    if str(facts.get("redis_mode")) == "cluster":
        yield red("redis", "is a cluster: the keys carry no hash tag", "use a single Redis")
    elif str(facts.get("maxmemory_policy", "noeviction")) != "noeviction":
        policy = facts["maxmemory_policy"]
        yield yellow(
            "redis",
            f"maxmemory-policy is {policy}: breakers and counts may be evicted",
            "CONFIG SET maxmemory-policy noeviction",
        )
    else:
        yield green("redis", "answers, and takes what we write")
    for item in states:
        if item.state != "CLOSED":
            yield yellow(
                f"breaker {item.platform}",
                f"is {item.state}: its posts wait",
                "it closes by itself 5 minutes after the platform is well again; at once: "
                f"minitik breaker reset {item.platform}",
            )


def judge_collection(found: Mapping[str, Any] | None, *, tells: bool) -> Finding:
    """Judge what `listCollections` says of the analytics collection; None where it is not there.

    `tells` False: this server does not report a collection's options.
    """
    check = "analytics collection"
    if found is None:
        return green(check, "is not there yet: it is created when the first figures are stored")
    if not tells:
        return green(
            check, "is there; this server tells no options, so that the expiry is not verified"
        )
    if found.get("type") != "timeseries":
        return red(
            check,
            f"{COLLECTION} is a plain collection, not a time series",
            f"rename it (db.{COLLECTION}.renameCollection('{COLLECTION}_old')), let it be created, "
            "and insert its documents again",
        )
    options = found.get("options", {})
    series = options.get("timeseries", {})
    wanted = {"timeField": "timestamp", "metaField": "metadata", "granularity": "hours"}
    other = {name: series.get(name) for name, value in wanted.items() if series.get(name) != value}
    if other:
        return red(
            check,
            f"its time series has {', '.join(f'{name} {value}' for name, value in other.items())}",
            f"it must have {json.dumps(wanted)}: make it anew",
        )
    expiry = options.get("expireAfterSeconds")
    if expiry != EXPIRY_SECONDS:
        return yellow(
            check,
            f"expires after {expiry} seconds, not after 12 months",
            f"db.runCommand({{collMod: '{COLLECTION}', expireAfterSeconds: {EXPIRY_SECONDS}}})",
        )
    return green(check, "is a time series that expires after 12 months")


def mongodb(settings: Settings) -> Iterator[Finding]:
    """Ask MongoDB, and look at the analytics collection where it is there."""
    if settings.mongodb_uri is None:
        return
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
        settings.mongodb_uri.get_secret_value(),
        serverSelectionTimeoutMS=int(_SECONDS * 1000),
        connectTimeoutMS=int(_SECONDS * 1000),
        socketTimeoutMS=int(_SECONDS * 1000),
    )
    try:
        tells = "version" in client.server_info()
        database = client[settings.mongodb_db]
        found = [item for item in database.list_collections() if item["name"] == COLLECTION]
    except PyMongoError as error:
        yield red(
            "mongodb",
            f"does not answer ({type(error).__name__}): no analytics; publishing is not affected",
            "start it, or correct MONGODB_URI",
        )
        return
    finally:
        client.close()
    yield green("mongodb", "answers")
    yield judge_collection(found[0] if found else None, tells=tells)


def cors_rule(origin: str) -> str:
    """Return the bucket's CORS configuration for browsers that upload from `origin`, as JSON."""
    rule = {
        "AllowedOrigins": [origin],
        "AllowedMethods": list(_METHODS),
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 3000,
    }
    return json.dumps({"CORSRules": [rule]})


def s3(settings: Settings) -> Iterator[Finding]:
    """Store, read and delete a small object; ask for parts, CORS, and the way the platforms take."""
    if not settings.aws_s3_bucket:
        return
    store = ObjectStore.from_settings(settings, patience=_SECONDS)
    key = f"doctor/{new_id()}"
    try:
        store.put(key, _PROBE, "text/plain")
    except DependencyDownError as error:
        yield red(
            "s3",
            str(error).partition(";")[0],  # what follows is advice to others: to ask us, or to wait
            "AWS_S3_BUCKET, AWS_REGION, AWS_ENDPOINT_URL_S3 and the keys must belong together; the "
            "user needs s3:PutObject, s3:GetObject, s3:DeleteObject",
        )
        return
    try:
        if store.read(key, 0, 100) != _PROBE:
            yield red("s3", "gave back other bytes than were stored", "look at what stands between")
        else:
            yield green("s3", "stores and reads objects")
        yield from _parts(store, key, settings)
        with httpx.Client(timeout=_SECONDS) as http:
            yield from _cors(http, store, key, settings)
            yield from _reach(http, store, key, settings)
    finally:
        try:
            store.delete(key)
        except DependencyDownError:
            yield red(
                "s3 DeleteObject", "is refused: media cannot be deleted", "grant s3:DeleteObject"
            )


def _parts(store: ObjectStore, key: str, settings: Settings) -> Iterator[Finding]:
    upload_id = store.create_multipart(f"{key}.parts", "video/mp4")
    try:
        listed = store.list_parts(f"{key}.parts", upload_id)
    finally:
        try:
            store.abort(f"{key}.parts", upload_id)
        except DependencyDownError:
            yield yellow(
                "s3 AbortMultipartUpload",
                "is refused: aborted uploads keep their parts",
                "grant s3:AbortMultipartUpload, or a lifecycle rule for incomplete uploads",
            )
    if listed is None and settings.platform_world == "sandbox":
        yield green("s3 parts", "this store lists none: completion believes the client's ETags")
    elif listed is None:
        yield yellow(
            "s3 ListMultipartUploadParts",
            "is refused: completion believes the client's ETags",
            "grant s3:ListMultipartUploadParts",
        )
    else:
        yield green("s3 parts", "multipart uploads can be begun, listed and aborted")


def _cors(
    http: httpx.Client, store: ObjectStore, key: str, settings: Settings
) -> Iterator[Finding]:
    origin = settings.nextauth_url
    fix = f"apply this CORS configuration to the bucket: {cors_rule(origin)}"
    url = store.presign_get(key)
    lacking = []
    for method in _METHODS:
        asked = {"Origin": origin, "Access-Control-Request-Method": method}
        answer = http.options(url.partition("?")[0], headers=asked)
        methods = answer.headers.get("access-control-allow-methods", "")
        allowed = answer.headers.get("access-control-allow-origin") in {"*", origin}
        if not (answer.is_success and allowed and method in methods.replace(" ", "").split(",")):
            lacking.append(method)
    shown = http.get(url, headers={"Origin": origin})
    exposed = shown.headers.get("access-control-expose-headers", "").lower()
    if lacking:
        detail = f"pages of NEXTAUTH_URL may not {', '.join(lacking)}: no upload from a browser"
        yield yellow("s3 CORS", detail, fix)
    elif "etag" not in exposed and "*" not in exposed:
        yield yellow("s3 CORS", "ETag is not exposed to pages", fix)
    else:
        yield green("s3 CORS", "pages of NEXTAUTH_URL may upload, and see ETag")


def _reach(
    http: httpx.Client, store: ObjectStore, key: str, settings: Settings
) -> Iterator[Finding]:
    """Fetch as a platform would; whether it may come from outside only its host tells."""
    url = store.presign_fetch(key, timedelta(minutes=5))
    host = urlsplit(url).hostname or ""
    fix = "set MEDIA_PUBLIC_BASE_URL to a public https host in front of the bucket"
    if settings.platform_world == "live" and (
        host in _LOOPBACK or "." not in host or urlsplit(url).scheme != "https"
    ):
        yield red("media", "the platforms cannot fetch from the bucket's host", fix)
        return
    try:
        answer = http.get(url)
    except httpx.HTTPError as error:
        yield red("media", f"cannot be fetched ({type(error).__name__})", fix)
        return
    if answer.content == _PROBE:
        yield green("media", "can be fetched by a signed URL")
    else:
        yield red("media", f"a signed URL answers {answer.status_code}", fix)
