"""What the platforms say beforehand, over HTTP: the API asks the real sandbox, and only reads."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from minitik_dagster.accounts.vault import Vault
from minitik_dagster.db.types import Platform
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.settings import Settings
from tests.api.scene import VERTICAL, Person, Scene
from tests.api.server import serving
from tests.publishing.pictures import picture_server

KEY = "ab" * 32
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 300
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 300


@pytest.fixture
def settings(settings: Settings, sandbox: SandboxServer) -> Settings:
    """The API's environment, its platforms pointed at the sandbox."""
    hosts = {name.lower(): value for name, value in sandbox.environment.items()}
    return Settings.model_validate(
        {**settings.model_dump(exclude_unset=True), **hosts, "encryption_key": SecretStr(KEY)}
    )


@pytest.fixture
def api(settings: Settings) -> Iterator[httpx.Client]:
    with serving(settings) as client:
        yield client


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of pictures on loopback; its URL."""
    folder: Path = tmp_path_factory.mktemp("pictures")
    (folder / "cover.jpg").write_bytes(JPEG)
    (folder / "cover.png").write_bytes(PNG)
    (folder / "page.jpg").write_bytes(b"<html>")
    (folder / "large.jpg").write_bytes(JPEG + b"\0" * 8_000_000)
    (folder / "large.png").write_bytes(PNG + b"\0" * 2_000_000)
    with picture_server(folder) as url:
        yield url


class Connected:
    """An account that exists at the sandbox, with tokens that work there."""

    def __init__(
        self, scene: Scene, sandbox: SandboxServer, person: Person, platform: Platform, **there: Any
    ) -> None:
        made = sandbox.create_account(platform.value.lower(), **there)
        self.id = scene.account(person, platform)
        self.there = made["platformAccountId"]
        vault = Vault([bytes.fromhex(KEY)])
        refresh = made["refreshToken"]
        scene.run(
            'UPDATE accounts SET "platformAccountId" = :there, "accessToken" = :access, '
            '"refreshToken" = :refresh WHERE id = :id',
            there=self.there,
            access=vault.seal(made["accessToken"]),
            refresh=vault.seal(refresh) if refresh else None,
            id=self.id,
        )


def soon(hours: float = 2) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def asked(sandbox: SandboxServer, operation: str) -> int:
    return sum(call["operation"] == operation for call in sandbox.calls())


def validated(api: httpx.Client, person: Person, **body: Any) -> dict[str, Any]:
    answer = api.post("/api/publishing/validate", headers=person.headers, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def scheduled(api: httpx.Client, person: Person, **body: Any) -> httpx.Response:
    return api.post("/api/scheduling", headers=person.headers, json=body)


def test_a_privacy_level_that_tiktok_does_not_offer_is_refused_before_anything_is_scheduled(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """creator_info is asked live, at validate and at scheduling; the levels on offer are named."""
    account = Connected(scene, sandbox, person, Platform.TIKTOK, private=True)
    content = scene.content(person)
    body = {
        "contentId": content,
        "accountIds": [account.id],
        "scheduledAt": soon(),
        "options": {"tiktok": {"privacy": "PUBLIC_TO_EVERYONE"}},
    }
    before = scene.fingerprint()
    told = validated(api, person, **body)
    (error,) = told["errors"]
    assert error["field"] == "options.tiktok.privacy"
    assert account.id in error["message"]
    assert "FOLLOWER_OF_CREATOR" in error["fix"]
    refused = scheduled(api, person, **body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "options.tiktok.privacy"
    now = api.post("/api/publishing", headers=person.headers, json=_without_time(body))
    assert now.status_code == 422
    assert scene.fingerprint() == before
    assert asked(sandbox, "creator_info") == 3
    # The stored default is held against creator_info as well.
    default = scheduled(api, person, **(body | {"options": {}}))
    assert default.status_code == 201, default.text


def _without_time(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "scheduledAt"}


def test_what_tiktoks_creator_switched_off_is_told_and_refused_where_it_was_asked_for(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """Left to the default it is a warning; an option that would not be honoured is refused."""
    sandbox.set_limits(tiktok={"duetDisabled": True, "maxDurationSeconds": 5})
    account = Connected(scene, sandbox, person, Platform.TIKTOK)
    body = {"contentId": scene.content(person), "accountIds": [account.id]}
    told = validated(api, person, **body)
    assert [item["field"] for item in told["warnings"]] == ["options.tiktok.disableDuet"]
    (error,) = told["errors"]
    assert "12.0 s; TikTok lets this account post up to 5 s" in error["message"]
    wanted = {"tiktok": {"disableDuet": False}}
    told = validated(api, person, **body, options=wanted)
    assert "options.tiktok.disableDuet" in [item["field"] for item in told["errors"]]
    agreed = validated(api, person, **body, options={"tiktok": {"disableDuet": True}})
    assert agreed["warnings"] == []


def test_a_full_instagram_day_is_told_with_its_figures(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """quota_usage of quota_total, as a warning: when it frees up is not known without posts of ours."""
    account = Connected(scene, sandbox, person, Platform.INSTAGRAM)
    sandbox.set_limits(instagram={"postsPerDay": 0})
    body = {"contentId": scene.content(person), "accountIds": [account.id]}
    told = validated(api, person, **body, scheduledAt=soon())
    assert told["errors"] == []
    (warning,) = told["warnings"]
    assert "0 of 0 posts" in warning["message"]
    assert (
        "(quota_usage 0, quota_total 0); when there is room again is not known"
        in (warning["message"])
    )
    made = scheduled(api, person, **body, scheduledAt=soon())
    assert made.status_code == 201
    assert "quota_total 0" in made.json()["warnings"][0]["message"]


def test_instagrams_quota_is_asked_only_for_what_is_due_within_a_day(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """A moving day of 24 hours says nothing about the day after tomorrow."""
    account = Connected(scene, sandbox, person, Platform.INSTAGRAM)
    far = {"contentId": scene.content(person), "accountIds": [account.id], "scheduledAt": soon(48)}
    assert scheduled(api, person, **far).json()["warnings"] == []
    assert asked(sandbox, "publishing_limit") == 0
    near = far | {"contentId": scene.content(person), "scheduledAt": soon(23)}
    assert scheduled(api, person, **near).status_code == 201
    assert asked(sandbox, "publishing_limit") == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "drop-before"},
        {"kind": "status", "status": 503},
        pytest.param({"kind": "delay-before", "delayMs": 20_000}, marks=pytest.mark.slow),
        {"kind": "throttle"},
    ],
    ids=lambda fault: fault["kind"],
)
def test_a_platform_that_cannot_be_asked_is_a_warning_never_a_failed_scheduling(
    api: httpx.Client,
    scene: Scene,
    person: Person,
    sandbox: SandboxServer,
    fault: dict[str, Any],
) -> None:
    account = Connected(scene, sandbox, person, Platform.INSTAGRAM)
    sandbox.add_fault(platform="instagram", operation="publishing_limit", account=account.there,
                      count=1, **fault)  # fmt: skip
    made = scheduled(
        api,
        person,
        contentId=scene.content(person),
        accountIds=[account.id],
        scheduledAt=soon(),
    )
    assert made.status_code == 201, made.text
    (warning,) = made.json()["warnings"]
    assert "could not be asked" in warning["message"]
    assert "asked again" in warning["fix"]


def test_an_ended_token_is_renewed_at_scheduling_and_left_alone_by_validate(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """`validate` changes nothing, not even a token."""
    account = Connected(scene, sandbox, person, Platform.TIKTOK, expiresIn=1)
    sandbox.call("POST", "/_sandbox/time", {"advanceSeconds": 2})
    body = {"contentId": scene.content(person), "accountIds": [account.id], "scheduledAt": soon()}
    before = scene.fingerprint()
    told = validated(api, person, **body)
    assert told["valid"]
    assert "access token has ended" in told["warnings"][0]["message"]
    assert scene.fingerprint() == before
    made = scheduled(api, person, **body)
    assert (made.status_code, made.json()["warnings"]) == (201, [])
    assert asked(sandbox, "token") == 1


def test_a_withdrawn_account_is_refused(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    """The platform's word comes before our stored status."""
    account = Connected(scene, sandbox, person, Platform.INSTAGRAM)
    sandbox.add_fault(platform="instagram", operation="publishing_limit", kind="status",
                      status=400, code="190/458", account=account.there)  # fmt: skip
    body = {"contentId": scene.content(person), "accountIds": [account.id], "scheduledAt": soon()}
    told = validated(api, person, **body)
    assert "removed our app" in told["errors"][0]["message"]


@pytest.mark.parametrize(
    ("platform", "option", "picture", "found"),
    [
        (Platform.INSTAGRAM, "coverUrl", "cover.png", "is a PNG"),
        (Platform.INSTAGRAM, "coverUrl", "page.jpg", "is no JPEG or PNG"),
        (Platform.INSTAGRAM, "coverUrl", "large.jpg", "more than 8,000,000 bytes"),
        (Platform.INSTAGRAM, "coverUrl", "nowhere.jpg", "answers 404"),
        (Platform.YOUTUBE, "thumbnailUrl", "large.png", "more than 2,000,000 bytes"),
        (Platform.YOUTUBE, "thumbnailUrl", "page.jpg", "is no JPEG or PNG"),
    ],
)
def test_a_picture_that_the_platform_would_not_take_is_refused(
    api: httpx.Client,
    scene: Scene,
    person: Person,
    sandbox: SandboxServer,
    pictures: str,
    platform: Platform,
    option: str,
    picture: str,
    found: str,
) -> None:
    """Fetched through the one way out, however far ahead the post is."""
    account = Connected(scene, sandbox, person, platform)
    provider = platform.value.lower()
    body = {
        "contentId": scene.content(person),
        "accountIds": [account.id],
        "scheduledAt": soon(72),
        "options": {provider: {option: f"{pictures}/{picture}"}},
    }
    answer = scheduled(api, person, **body)
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["field"] == f"options.{provider}.{option}"
    assert found in error["message"]
    assert "bytes, without redirects" in error["fix"]
    (told,) = validated(api, person, **body)["errors"]
    assert told == error


def test_pictures_that_fit_pass_and_are_kept_as_given(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer, pictures: str
) -> None:
    accounts = [
        Connected(scene, sandbox, person, platform).id
        for platform in (Platform.INSTAGRAM, Platform.YOUTUBE)
    ]
    made = scheduled(
        api,
        person,
        contentId=scene.content(person),
        accountIds=accounts,
        scheduledAt=soon(72),
        options={
            "instagram": {"coverUrl": f"{pictures}/cover.jpg"},
            "youtube": {"thumbnailUrl": f"{pictures}/cover.png"},
        },
    )
    assert (made.status_code, made.json()["warnings"]) == (201, [])
    kept = scene.rows(
        "SELECT options->>'coverUrl' AS cover, options->>'thumbnailUrl' AS thumbnail "
        "FROM publications ORDER BY platform"
    )
    assert kept == [
        {"cover": f"{pictures}/cover.jpg", "thumbnail": None},
        {"cover": None, "thumbnail": f"{pictures}/cover.png"},
    ]


def test_a_database_of_the_live_world_reaches_no_loopback(
    scene: Scene, person: Person, settings: Settings, pictures: str
) -> None:
    """The stamp of the database decides, whatever the hosts say."""
    scene.run("UPDATE settings SET value = to_jsonb('live'::text) WHERE key = 'world'")
    account = scene.account(person, Platform.INSTAGRAM)
    with serving(settings) as api:
        answer = scheduled(
            api,
            person,
            contentId=scene.content(person),
            accountIds=[account],
            scheduledAt=soon(),
            options={"instagram": {"coverUrl": f"{pictures}/cover.jpg"}},
        )
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "options.instagram.coverUrl"
    assert "is not https" in error["message"]


def test_a_replayed_request_asks_nobody_again(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer
) -> None:
    account = Connected(scene, sandbox, person, Platform.TIKTOK)
    body = {"contentId": scene.content(person), "accountIds": [account.id], "scheduledAt": soon()}
    headers = person.headers | {"Idempotency-Key": "once"}
    first = api.post("/api/scheduling", headers=headers, json=body)
    second = api.post("/api/scheduling", headers=headers, json=body)
    assert first.json()["scheduledJobId"] == second.json()["scheduledJobId"]
    assert asked(sandbox, "creator_info") == 1


def test_a_change_is_checked_as_scheduling_is(
    api: httpx.Client, scene: Scene, person: Person, sandbox: SandboxServer, pictures: str
) -> None:
    """New options and new times meet the live answers and the pictures; refused, nothing changes."""
    account = Connected(scene, sandbox, person, Platform.TIKTOK)
    body = {"contentId": scene.content(person), "accountIds": [account.id], "scheduledAt": soon()}
    path = f"/api/scheduling/{scheduled(api, person, **body).json()['scheduledJobId']}"
    before = scene.fingerprint()
    wanted = {"options": {"tiktok": {"privacy": "FOLLOWER_OF_CREATOR"}}}
    refused = api.patch(path, headers=person.headers, json=wanted)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "options.tiktok.privacy"
    assert scene.fingerprint() == before
    sandbox.set_limits(tiktok={"commentDisabled": True})
    moved = api.patch(path, headers=person.headers, json={"scheduledAt": soon(3)})
    assert moved.status_code == 200, moved.text
    assert [item["field"] for item in moved.json()["warnings"]] == ["options.tiktok.disableComment"]


def test_a_change_that_makes_a_post_a_duplicate_is_refused_without_allow_duplicate(
    api: httpx.Client, scene: Scene, person: Person
) -> None:
    """What was a duplicate before may be moved; what becomes one is told."""
    facts = replace(VERTICAL, fingerprint="sha256:" + "cd" * 32)
    account = scene.account(person, Platform.YOUTUBE)
    jobs = []
    for caption in ("First", "Second"):
        content = scene.content(person, facts=facts)
        options = {"youtube": {"caption": caption}}
        made = scheduled(
            api,
            person,
            contentId=content,
            accountIds=[account],
            scheduledAt=soon(48),
            options=options,
        )
        jobs.append(made.json()["scheduledJobId"])
    path = f"/api/scheduling/{jobs[1]}"
    same = {"options": {"youtube": {"caption": "First"}}}
    before = scene.fingerprint()
    refused = api.patch(path, headers=person.headers, json=same)
    assert refused.status_code == 422, refused.text
    assert "the same file with the same caption" in refused.json()["errors"][0]["message"]
    assert scene.fingerprint() == before
    allowed = api.patch(path, headers=person.headers, json=same | {"allowDuplicate": True})
    assert allowed.status_code == 200, allowed.text
    moved = api.patch(path, headers=person.headers, json={"scheduledAt": soon(49)})
    assert moved.status_code == 200, moved.text


def test_a_day_whose_youtube_uploads_are_taken_is_refused_before_it_makes_posts_late(
    settings: Settings, scene: Scene, person: Person, tomorrow: str
) -> None:
    """The budget is the whole app's: somebody else's post takes of it, another day is free."""
    other = scene.person()

    def body(owner: Person, at: str) -> dict[str, Any]:
        account = scene.account(owner, Platform.YOUTUBE)
        return {
            "contentId": scene.content(owner),
            "accountIds": [account],
            "scheduledAt": at,
            "timezone": "UTC",
        }

    one_a_day = settings.model_copy(update={"minitik_limits": {"youtube.uploads": 1}})
    later = (datetime.fromisoformat(tomorrow) + timedelta(days=3)).isoformat()
    with serving(one_a_day) as api:
        made = api.post("/api/scheduling", headers=other.headers, json=body(other, later))
        assert made.status_code == 201, made.text
        full = api.post("/api/scheduling", headers=person.headers, json=body(person, later))
        assert full.status_code == 422, full.text
        assert full.json()["errors"][0]["field"] == "scheduledAt"
        assert "1 of the 1 YouTube uploads" in full.json()["detail"]
        free = (datetime.fromisoformat(tomorrow) + timedelta(days=6)).isoformat()
        granted = api.post("/api/scheduling", headers=person.headers, json=body(person, free))
        assert granted.status_code == 201, granted.text
        # Moving within the full day takes nothing new of it; moving into it does.
        path = f"/api/scheduling/{made.json()['scheduledJobId']}"
        moved = (datetime.fromisoformat(later) + timedelta(seconds=1)).isoformat()
        same = api.patch(path, headers=other.headers, json={"scheduledAt": moved})
        assert same.status_code == 200, same.text
        path = f"/api/scheduling/{granted.json()['scheduledJobId']}"
        into = api.patch(path, headers=person.headers, json={"scheduledAt": later})
        assert into.status_code == 422, into.text
        checked = api.post(
            "/api/publishing/validate", headers=person.headers, json=body(person, later)
        ).json()
        assert any("YouTube uploads" in one["message"] for one in checked["errors"])
