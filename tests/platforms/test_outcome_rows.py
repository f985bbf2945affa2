"""Every row of the three outcome tables, through HTTP: the sandbox answers with the code, the client judges.

What is expected is written here by hand, row by row, and not read from the tables.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from pydantic import SecretStr

from minitik_dagster.errors import PlatformError, RevokedError, ThrottledError, TransientError
from minitik_dagster.platforms import instagram_outcomes, tiktok_outcomes, youtube_outcomes
from minitik_dagster.platforms.outcomes import Rule
from minitik_dagster.platforms.port import Finding, Standing
from tests.platforms.conftest import Stage
from tests.platforms.doubles import OpenGate
from tests.platforms.wire import until_found

pytestmark = pytest.mark.anyio


class Row(NamedTuple):
    """What a code means: class, what it is on a step that can publish, health, and the wait in seconds."""

    outcome: str
    on_commit: str
    unhealthy: bool = False
    wait: float | None = None
    status: int = 400


REJECTED, DEAD = Row("rejected", "rejected"), Row("handle_dead", "handle_dead")
AUTH = Row("auth_expired", "auth_expired", status=401)
REVOKED = Row("revoked", "revoked", status=403)
FAULT = Row("transient", "unknown", unhealthy=True, status=500)


def rows(row: Row, *codes: str, status: int | None = None) -> dict[str, Row]:
    return dict.fromkeys(codes, row if status is None else row._replace(status=status))


TIKTOK = {
    **rows(AUTH, "access_token_invalid"),
    **rows(REVOKED, "scope_not_authorized", "scope_permission_missed", status=401),
    **rows(FAULT, "internal_error"),
    **rows(Row("throttled", "throttled", wait=60, status=429), "rate_limit_exceeded"),
    **rows(REJECTED, "invalid_param", "invalid_params", "invalid_file_upload",
           "publish_not_cancellable", "token_not_authorized_for_specified_publish_id"),
    **rows(REJECTED, "spam_risk_user_banned_from_posting", "url_ownership_unverified",
           "unaudited_client_can_only_post_to_private_accounts", "privacy_level_option_mismatch",
           status=403),
    # The spam risks come with 200 from creator_info, on purpose.
    **rows(Row("throttled", "throttled", wait=3600, status=200), "spam_risk_too_many_posts",
           "reached_active_user_cap", "spam_risk_too_many_pending_share"),
    **rows(Row("handle_dead", "unknown"), "invalid_publish_id"),
}  # fmt: skip
TIKTOK_UPLOAD = {
    400: Row("handle_dead", "unknown"),
    403: DEAD,
    404: DEAD,
    416: Row("transient", "unknown"),
    **dict.fromkeys((500, 502, 503, 504), FAULT),
}
TIKTOK_FAIL = {
    **rows(REJECTED, "file_format_check_failed", "duration_check_failed", "spam_risk",
           "frame_rate_check_failed", "picture_size_check_failed", "publish_cancelled",
           "spam_risk_too_many_posts", "spam_risk_user_banned_from_posting", "spam_risk_text"),
    **rows(DEAD, "internal", "video_pull_failed", "photo_pull_failed"),
    **rows(REVOKED, "auth_removed"),
}  # fmt: skip
OUR_APP = Row("transient", "")
EXPIRED = Row("expired", "")
TIKTOK_OAUTH = {
    **rows(EXPIRED, "invalid_grant"),
    **rows(REVOKED, "access_denied"),
    **rows(OUR_APP, "invalid_client", "invalid_request", "invalid_scope", "unauthorized_client",
           "unsupported_grant_type", "unsupported_response_type"),
    **rows(FAULT, "server_error", "temporarily_unavailable", status=503),
}  # fmt: skip
IG_FAULT = FAULT._replace(status=400)
IG_FULL = Row("throttled", "throttled", wait=600)
DOUBTFUL = Row("handle_dead", "unknown")
INSTAGRAM = {
    **rows(DEAD, "-2/2207003", "-2/2207020", "9004/2207052"),
    **rows(IG_FAULT, "-1", "-1/2207001", "1", "2"),
    **rows(DOUBTFUL, "-1/2207032", "-1/2207053", "24/2207006", "24/2207008", "100/33",
           "-1/2207082", "-1/2207077"),
    **rows(Row("rejected", "unknown"), "1/2207057", "506"),
    **rows(REVOKED, "3", "10", "190/458", "190/459", *map(str, range(200, 300)), status=400),
    **rows(IG_FULL, "4", "9/2207042", "17", "32", "341", "613", "80002"),
    **rows(REJECTED, "4/2207051", "25/2207050", "100", "100/2207023", "100/2207028",
           "100/2207040", "352/2207026", "368", "36000/2207004", "36001/2207005",
           "36003/2207009", "36004/2207010", "100/2207081"),
    **rows(AUTH, "102", "190", "190/463", "190/467", status=400),
    **rows(Row("expired", "expired"), "190/460"),
    **rows(Row("transient", "transient", wait=60), "9007/2207027"),
}  # fmt: skip
YT_RATE = Row("throttled", "throttled", wait=60)
YOUTUBE = {
    **rows(REJECTED, "invalidTitle", "invalidDescription", "invalidTags", "invalidCategoryId",
           "invalidPublishAt", "invalidFilename", "invalidRecordingDetails", "required",
           "invalidVideoMetadata", "defaultLanguageNotSet", "badRequest", "mediaBodyRequired",
           "invalidImage"),
    **rows(REJECTED, "youtubeSignupRequired", status=401),
    **rows(REJECTED, "forbidden", "forbiddenPrivacySetting", "forbiddenLicenseSetting", status=403),
    **rows(Row("throttled", "throttled", wait=86_400), "uploadLimitExceeded"),
    **rows(AUTH, "authorizationRequired", "authError"),
    # Until midnight in California: no wait of ours.
    **rows(Row("throttled", "throttled", status=403), "quotaExceeded", "dailyLimitExceeded"),
    **rows(REVOKED, "insufficientPermissions", "authenticatedUserNotChannel"),
    **rows(YT_RATE, "rateLimitExceeded", "uploadRateLimitExceeded", status=429),
    **rows(YT_RATE, "userRateLimitExceeded", status=403),
    **rows(DEAD, "videoNotFound", "notFound", status=404),
    **rows(FAULT, "internalError", "processingFailure"),
    **rows(FAULT, "backendError", status=503),
}  # fmt: skip
YOUTUBE_FAILED = {
    **rows(REJECTED, "codec", "conversion", "emptyFile", "invalidFile", "tooSmall"),
    **rows(DEAD, "uploadAborted"),
}
YOUTUBE_REJECTED = rows(
    REJECTED, "claim", "copyright", "duplicate", "inappropriate", "legal", "length", "termsOfUse",
    "trademark", "uploaderAccountClosed", "uploaderAccountSuspended",
)  # fmt: skip
YOUTUBE_OAUTH = {
    **rows(EXPIRED, "invalid_grant"),
    **rows(REVOKED, "access_denied", "admin_policy_enforced"),
    **rows(OUR_APP, "deleted_client", "invalid_client", "unauthorized_client", "invalid_request",
           "invalid_scope", "unsupported_grant_type"),
}  # fmt: skip


def _names(table: Mapping[Any, Rule]) -> set[str]:
    return {
        "/".join(str(part) for part in code if part is not None)
        if isinstance(code, tuple)
        else str(code)
        for code in table
    }


@pytest.mark.parametrize(
    ("expected", "table"),
    [
        (TIKTOK, tiktok_outcomes.API_CODES),
        (TIKTOK_UPLOAD, tiktok_outcomes.UPLOAD_STATUSES),
        (TIKTOK_FAIL, tiktok_outcomes.FAIL_REASONS),
        (TIKTOK_OAUTH, tiktok_outcomes.OAUTH_ERRORS),
        (INSTAGRAM, instagram_outcomes.API_CODES),
        (YOUTUBE, youtube_outcomes.REASONS),
        (YOUTUBE_FAILED, youtube_outcomes.FAILURE_REASONS),
        (YOUTUBE_REJECTED, youtube_outcomes.REJECTION_REASONS),
        (YOUTUBE_OAUTH, youtube_outcomes.OAUTH_ERRORS),
    ],
)
def test_no_row_of_a_table_is_left_out_here(
    expected: Mapping[Any, Row], table: Mapping[Any, Rule]
) -> None:
    """A row added to a table has its answer through HTTP asserted, or this fails."""
    assert {str(code) for code in expected} == _names(table)


async def _error(call: Awaitable[object], code: object) -> PlatformError:
    try:
        await call
    except PlatformError as error:
        return error
    raise AssertionError(f"{code} was no error")


def _assert_is(error: PlatformError, row: Row, code: object, *, commit: bool = False) -> None:
    expected = row.on_commit if commit else row.outcome
    told = "revoked" if expected == "expired" else expected
    assert (error.outcome, error.unhealthy) == (told, row.unhealthy), (code, error)
    assert error.reason
    if isinstance(error, RevokedError):
        assert error.expired is (expected == "expired"), code
    if isinstance(error, ThrottledError | TransientError) and expected != "unknown":
        wait = None if row.wait is None else timedelta(seconds=row.wait)
        assert error.retry_after == wait, code
    if row.outcome == "throttled" and row.wait is None:
        assert isinstance(error, ThrottledError)
        assert error.until is not None, code


async def _each(
    stage: Stage,
    table: Mapping[str, Row],
    operation: str,
    call: Callable[[], Awaitable[object]],
    *,
    commit: bool = False,
) -> None:
    for code, row in table.items():
        stage.fault(operation, "status", status=row.status, code=code)
        error = await _error(call(), code)
        _assert_is(error, row, code, commit=commit)
        assert error.code == code, (code, error)


async def test_tiktoks_api_codes(tiktok: Stage) -> None:
    """Asked at creator_info, before anything is opened."""
    tiktok.sandbox.set_limits(tiktok={"creatorInfoPerMinute": 1000})
    await _each(
        tiktok,
        TIKTOK,
        "creator_info",
        lambda: tiktok.client.prepare(tiktok.post, tiktok.media, None, tiktok.desk),
    )
    assert tiktok.calls("init") == []


async def test_tiktoks_upload_statuses_on_a_chunk_that_cannot_publish(tiktok: Stage) -> None:
    """One of two chunks; 416 is first asked about, so it is met where status/fetch fails too."""
    tiktok.sandbox.set_limits(tiktok={"initPerMinute": 1000, "statusPerMinute": 1000})
    stage = tiktok.with_file(11_534_337)
    for status, row in TIKTOK_UPLOAD.items():
        if status == 416:
            continue
        stage.fault("chunk", "status", status=status)
        error = await _error(
            stage.client.prepare(stage.post, stage.media, None, stage.desk), status
        )
        _assert_is(error, row, status)
        assert error.code == f"upload_{status}"
    # The platform stands at another byte than we think: it is asked, and the upload goes on.
    stage.fault("chunk", "status", status=416)
    assert (await stage.client.prepare(stage.post, stage.media, None, stage.desk)).ready


async def test_tiktoks_upload_statuses_on_the_chunk_that_publishes(tiktok: Stage) -> None:
    """Only what TikTok documents as a refusal, and what status/fetch confirms, is one."""
    handle = await tiktok.client.prepare(tiktok.post, tiktok.media, None, tiktok.desk)
    for status, row in TIKTOK_UPLOAD.items():
        tiktok.fault("last_chunk", "status", status=status)
        call = tiktok.client.commit(tiktok.post, tiktok.media, handle, tiktok.token, OpenGate())
        _assert_is(await _error(call, status), row, status, commit=True)
    assert tiktok.public() == []


async def test_tiktoks_fail_reasons(tiktok: Stage) -> None:
    """Told by status/fetch after everything was received."""
    tiktok.sandbox.set_limits(
        tiktok={"initPerMinute": 1000, "creatorInfoPerMinute": 1000, "statusPerMinute": 9000}
    )
    for reason, row in TIKTOK_FAIL.items():
        tiktok.fault("init", "fail-processing", code=reason)
        handle = await tiktok.client.prepare(tiktok.post, tiktok.media, None, tiktok.desk)
        await tiktok.client.commit(tiktok.post, tiktok.media, handle, tiktok.token, OpenGate())
        standing = Standing.DEAD if row is DEAD else Standing.REJECTED

        async def confirm(handle: Any = handle) -> Finding:
            return await tiktok.client.confirm(tiktok.post, handle, tiktok.desk)

        finding = await until_found(confirm, standing)
        assert finding.error is not None
        _assert_is(finding.error, row, reason)


async def _refused_tokens(stage: Stage, table: Mapping[str, Row]) -> None:
    old = SecretStr("old")
    for code, row in table.items():
        stage.sandbox.add_fault(
            platform=stage.platform.value.lower(), operation="token", kind="status", count=1,
            status=row.status, code=code,
        )  # fmt: skip
        error = await _error(stage.client.refresh(old, old), code)
        _assert_is(error, row, code)
        assert error.code == code


async def test_tiktoks_token_errors(tiktok: Stage) -> None:
    """Only the end of the grant ends an account; a fault of our app's or theirs passes."""
    await _refused_tokens(tiktok, TIKTOK_OAUTH)


async def test_youtubes_token_errors(youtube: Stage) -> None:
    await _refused_tokens(youtube, YOUTUBE_OAUTH)


async def test_instagrams_codes_on_a_call_that_cannot_publish(instagram: Stage) -> None:
    """At the container's creation."""
    await _each(
        instagram,
        INSTAGRAM,
        "container",
        lambda: instagram.client.prepare(instagram.post, instagram.media, None, instagram.desk),
    )


async def test_instagrams_codes_on_media_publish(instagram: Stage) -> None:
    """What Meta does not document as "nothing was done" is unknown there, never repeated blindly."""
    handle = await instagram.client.prepare(instagram.post, instagram.media, None, instagram.desk)
    await _each(
        instagram,
        INSTAGRAM,
        "media_publish",
        lambda: instagram.client.commit(
            instagram.post, instagram.media, handle, instagram.token, OpenGate()
        ),
        commit=True,
    )
    assert instagram.public() == []


async def test_youtubes_reasons_on_a_call_that_cannot_publish(youtube: Stage) -> None:
    """At the session's start."""
    await _each(
        youtube,
        YOUTUBE,
        "session",
        lambda: youtube.client.prepare(youtube.post, youtube.media, None, youtube.desk),
    )


async def test_youtubes_reasons_on_the_update_that_publishes(youtube: Stage) -> None:
    handle = await youtube.client.prepare(youtube.post, youtube.media, None, youtube.desk)
    await _each(
        youtube,
        YOUTUBE,
        "update",
        lambda: youtube.client.commit(
            youtube.post, youtube.media, handle, youtube.token, OpenGate()
        ),
        commit=True,
    )
    assert youtube.public() == []


@pytest.mark.parametrize(
    ("state", "table"), [("failed", YOUTUBE_FAILED), ("rejected", YOUTUBE_REJECTED)]
)
async def test_youtubes_failures_and_rejections(
    youtube: Stage, state: str, table: Mapping[str, Row]
) -> None:
    """Told by videos.list of what was uploaded."""
    youtube.sandbox.set_limits(youtube={"processingMs": 0, "uploadsPerDay": 1000})
    for reason, row in table.items():
        youtube.fault("upload", "fail-processing", code=reason)
        handle = await youtube.client.prepare(youtube.post, youtube.media, None, youtube.desk)
        error = await _error(youtube.client.warm(youtube.post, handle, youtube.desk), reason)
        _assert_is(error, row, reason)
        assert error.code == f"{state}/{reason}"


_FIRST_CALL = {"TIKTOK": "creator_info", "INSTAGRAM": "publishing_limit", "YOUTUBE": "session"}


async def test_the_platforms_own_wait_is_respected(stage: Stage) -> None:
    """Retry-After of the answer, through HTTP, before our table's figure."""
    operation = _FIRST_CALL[stage.platform.value]
    stage.fault(operation, "throttle", retryAfterSeconds=77)
    error = await _error(stage.client.prepare(stage.post, stage.media, None, stage.desk), operation)
    assert isinstance(error, ThrottledError)
    assert error.retry_after == timedelta(seconds=77)
    stage.fault(operation, "status", status=503, retryAfterSeconds=5)
    again = await _error(
        stage.client.prepare(replace(stage.post), stage.media, None, stage.desk),
        operation,
    )
    assert isinstance(again, TransientError)
    assert again.retry_after == timedelta(seconds=5)


def _digest(*tables: Mapping[Any, Rule]) -> str:
    lines: Iterable[str] = sorted(
        f"{number} {code} {rule.verdict} {rule.unhealthy} {rule.refusal} {rule.wait}"
        for number, table in enumerate(tables)
        for code, rule in table.items()
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


DIGESTS = {
    "tiktok-2026-11.1": "453ed53f9968",
    "instagram-2026-11.1": "a7aec7483f0a",
    "youtube-2026-11.1": "107124d98a97",
}


def test_a_changed_table_has_a_new_version() -> None:
    """The version that is stored with each attempt names one table and no other."""
    tables = {
        tiktok_outcomes.POLICY_VERSION: (
            tiktok_outcomes.API_CODES, tiktok_outcomes.UPLOAD_STATUSES,
            tiktok_outcomes.FAIL_REASONS, tiktok_outcomes.OAUTH_ERRORS,
        ),
        instagram_outcomes.POLICY_VERSION: (instagram_outcomes.API_CODES,),
        youtube_outcomes.POLICY_VERSION: (
            youtube_outcomes.REASONS, youtube_outcomes.FAILURE_REASONS,
            youtube_outcomes.REJECTION_REASONS, youtube_outcomes.OAUTH_ERRORS,
        ),
    }  # fmt: skip
    assert {version: _digest(*found) for version, found in tables.items()} == DIGESTS
