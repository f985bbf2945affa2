"""Every code that the vendors document is mapped, and each to its class and health."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from minitik_dagster.errors import (
    AuthExpiredError,
    HandleDeadError,
    PlatformError,
    RejectedError,
    RevokedError,
    ThrottledError,
    TransientError,
    UnknownOutcomeError,
)
from minitik_dagster.platforms import instagram_outcomes as instagram
from minitik_dagster.platforms import tiktok_outcomes as tiktok
from minitik_dagster.platforms import youtube_outcomes as youtube
from minitik_dagster.platforms.outcomes import Rule, spoken

_NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

# The vendors' own lists, copied from their pages (sources: the outcome modules).
TIKTOK_API = [
    "access_token_invalid",
    "internal_error",
    "invalid_file_upload",
    "invalid_params",
    "invalid_param",
    "rate_limit_exceeded",
    "scope_not_authorized",
    "scope_permission_missed",
    "spam_risk_too_many_posts",
    "spam_risk_user_banned_from_posting",
    "reached_active_user_cap",
    "url_ownership_unverified",
    "unaudited_client_can_only_post_to_private_accounts",
    "privacy_level_option_mismatch",
    "spam_risk_too_many_pending_share",
    "invalid_publish_id",
    "publish_not_cancellable",
    "token_not_authorized_for_specified_publish_id",
]
TIKTOK_UPLOAD = [400, 403, 404, 416, 500, 502, 503, 504]
TIKTOK_FAIL = [
    "file_format_check_failed",
    "duration_check_failed",
    "frame_rate_check_failed",
    "picture_size_check_failed",
    "internal",
    "video_pull_failed",
    "photo_pull_failed",
    "publish_cancelled",
    "auth_removed",
    "spam_risk_too_many_posts",
    "spam_risk_user_banned_from_posting",
    "spam_risk_text",
    "spam_risk",
]
TIKTOK_OAUTH = [
    "access_denied",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
]
INSTAGRAM_PAIRS = [
    (-2, 2207003), (-2, 2207020), (-1, 2207001), (-1, 2207032), (-1, 2207053), (1, 2207057),
    (4, 2207051), (9, 2207042), (24, 2207006), (24, 2207008), (25, 2207050), (100, 2207023),
    (100, 2207028), (100, 2207040), (352, 2207026), (9004, 2207052), (9007, 2207027),
    (36000, 2207004), (36001, 2207005), (36003, 2207009), (36004, 2207010), (190, 458),
    (190, 459), (190, 460), (190, 463), (190, 467),
]  # fmt: skip
INSTAGRAM_CODES = [1, 2, 3, 4, 10, 17, 102, 190, *range(200, 300), 341, 368, 506, 32, 613, 80002]
YOUTUBE_REASONS = [
    "invalidTitle",
    "invalidDescription",
    "invalidTags",
    "invalidCategoryId",
    "invalidPublishAt",
    "invalidFilename",
    "invalidRecordingDetails",
    "invalidVideoMetadata",
    "defaultLanguageNotSet",
    "mediaBodyRequired",
    "uploadLimitExceeded",
    "authorizationRequired",
    "authError",
    "youtubeSignupRequired",
    "quotaExceeded",
    "forbidden",
    "forbiddenPrivacySetting",
    "forbiddenLicenseSetting",
    "insufficientPermissions",
    "authenticatedUserNotChannel",
    "rateLimitExceeded",
    "userRateLimitExceeded",
    "videoNotFound",
    "uploadRateLimitExceeded",
    "internalError",
    "backendError",
    "invalidImage",
]
YOUTUBE_FAILURES = ["codec", "conversion", "emptyFile", "invalidFile", "tooSmall", "uploadAborted"]
YOUTUBE_REJECTIONS = [
    "claim",
    "copyright",
    "duplicate",
    "inappropriate",
    "legal",
    "length",
    "termsOfUse",
    "trademark",
    "uploaderAccountClosed",
    "uploaderAccountSuspended",
]


def test_every_documented_code_is_mapped() -> None:
    """No code of the vendors' pages falls through to "undocumented"."""
    assert set(TIKTOK_API) <= tiktok.API_CODES.keys()
    assert set(TIKTOK_UPLOAD) <= tiktok.UPLOAD_STATUSES.keys()
    assert set(TIKTOK_FAIL) == tiktok.FAIL_REASONS.keys()
    assert set(TIKTOK_OAUTH) <= tiktok.OAUTH_ERRORS.keys()
    assert set(INSTAGRAM_PAIRS) <= instagram.API_CODES.keys()
    assert {(code, None) for code in INSTAGRAM_CODES} <= instagram.API_CODES.keys()
    assert set(YOUTUBE_REASONS) <= youtube.REASONS.keys()
    assert set(YOUTUBE_FAILURES) == youtube.FAILURE_REASONS.keys()
    assert set(YOUTUBE_REJECTIONS) == youtube.REJECTION_REASONS.keys()


def _all_rules() -> list[Rule]:
    tables = (
        tiktok.API_CODES, tiktok.UPLOAD_STATUSES, tiktok.FAIL_REASONS, tiktok.OAUTH_ERRORS,
        instagram.API_CODES, youtube.REASONS, youtube.FAILURE_REASONS,
        youtube.REJECTION_REASONS, youtube.OAUTH_ERRORS,
    )  # fmt: skip
    return [rule for table in tables for rule in table.values()]


def test_every_rule_speaks_in_plain_words() -> None:
    """The reason names no code, and what a person can cure says how."""
    for rule in _all_rules():
        assert rule.reason
        assert "_" not in rule.reason
        if rule.verdict.value in {"revoked", "expired", "auth_expired"}:
            assert rule.fix


def test_health_is_a_column_of_its_own() -> None:
    """A creator's bad caption must not close a platform for everyone; a 5xx must count."""
    for rule in _all_rules():
        if rule.unhealthy:
            assert rule.verdict.value == "transient"
    assert tiktok.classify(500, "internal_error").unhealthy
    assert instagram.classify(500, 2).unhealthy
    assert youtube.classify(503, "backendError", now=_NOW).unhealthy
    assert not tiktok.classify(429, "rate_limit_exceeded").unhealthy


Classify = Callable[[int, bool], PlatformError]
_UNDOCUMENTED: list[Classify] = [
    lambda status, commit: tiktok.classify(status, "never_seen", can_publish=commit),
    lambda status, commit: tiktok.classify(status, "", can_publish=commit),
    lambda status, commit: tiktok.classify_upload(status, can_publish=commit),
    lambda status, commit: instagram.classify(status, 987_654, 1, can_publish=commit),
    lambda status, commit: instagram.classify(status, None, can_publish=commit),
    lambda status, commit: youtube.classify(status, "never", now=_NOW, can_publish=commit),
    lambda status, commit: youtube.classify(status, "", now=_NOW, can_publish=commit),
]


@pytest.mark.parametrize("classify", _UNDOCUMENTED)
def test_undocumented_codes(classify: Classify) -> None:
    """Unknown on a step that can publish; elsewhere 5xx passes and 4xx is final."""
    for status in (409, 418, 500, 599):
        assert type(classify(status, True)) is UnknownOutcomeError
    assert type(classify(507, False)) is TransientError
    assert type(classify(409, False)) is RejectedError


@pytest.mark.parametrize(
    ("code", "subcode"), [(1, None), (2, None), (-1, None), (-1, 2207001), (24, 2207008),
                          (1, 1234567), (506, None), (100, 33)]
)  # fmt: skip
def test_instagrams_doubtful_codes_are_unknown_on_a_commit(code: int, subcode: int | None) -> None:
    """R1: 1, 2, -1 and 24/2207008 were seen though the post went live."""
    error = instagram.classify(400, code, subcode, can_publish=True)
    assert type(error) is UnknownOutcomeError


def test_instagrams_not_ready_is_a_refusal_that_may_be_repeated() -> None:
    """9007/2207027: nothing was done, the same container may be published again."""
    error = instagram.classify(400, 9007, 2207027, can_publish=True)
    assert type(error) is TransientError
    assert error.retry_after is not None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (tiktok.classify(200, "spam_risk_too_many_posts"), ThrottledError),
        (tiktok.classify(200, "reached_active_user_cap"), ThrottledError),
        (tiktok.classify(200, "spam_risk_user_banned_from_posting"), RejectedError),
        (tiktok.classify(401, "access_token_invalid"), AuthExpiredError),
        (tiktok.classify(401, "scope_not_authorized"), RevokedError),
        (tiktok.classify_upload(403, can_publish=True), HandleDeadError),
        (tiktok.classify_failure("internal"), HandleDeadError),
        (tiktok.classify_failure("spam_risk_text"), RejectedError),
        (tiktok.classify_failure("brand_new"), RejectedError),
        (tiktok.classify_oauth(400, "invalid_grant"), RevokedError),
        (tiktok.classify_oauth(401, "invalid_client"), TransientError),
        (instagram.classify(400, 190, 463), AuthExpiredError),
        (instagram.classify(400, 190, 458), RevokedError),
        (instagram.classify(400, 190, 460), RevokedError),
        (instagram.classify(400, 9, 2207042, can_publish=True), ThrottledError),
        (instagram.classify(400, 36004, 2207010, can_publish=True), RejectedError),
        (instagram.classify_container("Error: x Error code 2207026"), RejectedError),
        (instagram.classify_container("Error: x Error code 2207003"), HandleDeadError),
        (instagram.classify_container("Error: x Error code 2207042"), HandleDeadError),
        (instagram.classify_container("Error: nobody knows"), HandleDeadError),
        (instagram.classify_refresh(400, 190, 463, ""), RevokedError),
        (youtube.classify(403, "quotaExceeded", now=_NOW, can_publish=True), ThrottledError),
        (youtube.classify(400, "uploadLimitExceeded", now=_NOW), ThrottledError),
        (youtube.classify(404, "videoNotFound", now=_NOW, can_publish=True), HandleDeadError),
        (youtube.classify(401, "authError", now=_NOW, can_publish=True), AuthExpiredError),
        (youtube.classify_processing("failed", "uploadAborted"), HandleDeadError),
        (youtube.classify_processing("rejected", "copyright"), RejectedError),
        (youtube.classify_oauth(400, "invalid_grant"), RevokedError),
        (youtube.classify_oauth(400, "deleted_client"), TransientError),
    ],
)
def test_classes_that_decide_what_happens_next(
    error: PlatformError, kind: type[PlatformError]
) -> None:
    """Spot checks of the tables where a slip would lose or double a post."""
    assert type(error) is kind
    assert error.code
    assert error.reason


def test_a_relogin_is_told_from_a_withdrawal() -> None:
    """EXPIRED asks for a login; REVOKED was the person's or the platform's doing."""
    for error, expired in (
        (tiktok.classify_oauth(400, "invalid_grant"), True),
        (instagram.classify(400, 190, 458), False),
        (instagram.classify_refresh(400, 190, None, ""), True),
        (youtube.classify_oauth(400, "invalid_grant"), True),
    ):
        assert isinstance(error, RevokedError)
        assert error.expired is expired


@pytest.mark.parametrize(
    ("now", "midnight"),
    [
        (datetime(2026, 7, 1, 12, tzinfo=UTC), datetime(2026, 7, 2, 7, tzinfo=UTC)),
        (datetime(2026, 12, 1, 7, 59, tzinfo=UTC), datetime(2026, 12, 1, 8, tzinfo=UTC)),
        (datetime(2026, 12, 1, 8, tzinfo=UTC), datetime(2026, 12, 2, 8, tzinfo=UTC)),
        # The night the clocks go back is an hour longer.
        (datetime(2026, 11, 1, 7, 30, tzinfo=UTC), datetime(2026, 11, 2, 8, tzinfo=UTC)),
    ],
)
def test_youtubes_quota_is_full_again_at_midnight_pacific(
    now: datetime, midnight: datetime
) -> None:
    """Daylight saving included."""
    error = youtube.classify(403, "quotaExceeded", now=now)
    assert isinstance(error, ThrottledError)
    assert error.until == midnight


def test_the_platforms_own_wait_wins() -> None:
    """Retry-After beats the table's figure."""
    error = tiktok.classify(429, "rate_limit_exceeded", retry_after=timedelta(seconds=7))
    assert isinstance(error, ThrottledError)
    assert error.retry_after == timedelta(seconds=7)


def test_a_platforms_words_are_repeated_without_urls_and_keys() -> None:
    """Some answers repeat the token they refuse, or the URL they could not fetch."""
    words = spoken(
        "Malformed access token IGAAabcdefghijklmnopqrstuvwxyz01 at https://h/p?sig=1 !\n"
    )
    assert words == "Malformed access token (…) at (URL) !"
    assert len(spoken("word " * 200)) <= 200
    assert spoken(None) == ""


def test_policy_versions_name_their_platform() -> None:
    """The version is stored with each ledger row."""
    assert tiktok.POLICY_VERSION.startswith("tiktok-")
    assert instagram.POLICY_VERSION.startswith("instagram-")
    assert youtube.POLICY_VERSION.startswith("youtube-")
