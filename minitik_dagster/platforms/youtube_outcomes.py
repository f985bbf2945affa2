"""YouTube's documented reasons and what each means for us.

Sources: "YouTube Data API - Errors", "Core API errors", "Videos: insert/update/delete", "Thumbnails:
set", "Using OAuth 2.0 for Web Server Applications" (developers.google.com).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from minitik_dagster.errors import PlatformError
from minitik_dagster.platforms.outcomes import Class, Rule, spoken, undocumented

POLICY_VERSION = "youtube-2026-11.1"

_PACIFIC = ZoneInfo("America/Los_Angeles")
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)
_RECONNECT = "reconnect the YouTube account"
_FAULT = Rule(Class.TRANSIENT, "YouTube had a fault of its own", unhealthy=True, refusal=False)
_RATE = Rule(Class.THROTTLED, "YouTube allows no more calls for now", wait=_MINUTE)
_LOGIN = Rule(Class.AUTH_EXPIRED, "the YouTube access token is not accepted", _RECONNECT)
_NO_PERMISSION = Rule(
    Class.REVOKED,
    "YouTube has not granted the permission for this",
    f"{_RECONNECT} and grant every permission it asks for",
    permission=True,
)
_METADATA = Rule(
    Class.REJECTED, "YouTube refused the video's details", "correct what YouTube names"
)
_GONE = Rule(Class.HANDLE_DEAD, "the video is not on YouTube any more")


def _bad(what: str, fix: str) -> Rule:
    return Rule(Class.REJECTED, f"YouTube does not take the {what}", fix)


REASONS: Mapping[str, Rule] = {
    "invalidTitle": _bad("title", "use 1 to 100 characters without < and >"),
    "invalidDescription": _bad("description", "use at most 5,000 bytes without < and >"),
    "invalidTags": _bad("tags", "use at most 500 characters of tags in all"),
    "invalidCategoryId": _bad("category", "correct options.youtube.categoryId or leave it out"),
    "invalidPublishAt": _bad("publishing time", "leave publishAt to us"),
    "invalidFilename": _bad("file name", "rename the file"),
    "invalidRecordingDetails": _METADATA,
    "invalidVideoMetadata": _METADATA,
    "defaultLanguageNotSet": _METADATA,
    "required": _METADATA,
    "badRequest": _METADATA,
    "mediaBodyRequired": _bad("upload without a file", "upload the file again"),
    "invalidImage": _bad("thumbnail", "use a JPEG or PNG of at most 2 MB"),
    "uploadLimitExceeded": Rule(
        Class.THROTTLED,
        "the channel has reached YouTube's daily number of uploads",
        "wait a day",
        wait=_DAY,
    ),
    "authorizationRequired": _LOGIN,
    "authError": _LOGIN,
    "youtubeSignupRequired": Rule(
        Class.REJECTED, "the Google account has no YouTube channel", "create a channel first"
    ),
    "quotaExceeded": Rule(
        Class.THROTTLED,
        "our app has used up YouTube's daily quota",
        "wait until midnight Pacific time, or ask Google for a larger quota",
    ),
    "dailyLimitExceeded": Rule(
        Class.THROTTLED,
        "our app has used up YouTube's daily quota",
        "wait until midnight Pacific time, or ask Google for a larger quota",
    ),
    "forbidden": Rule(
        Class.REJECTED, "YouTube does not allow this for the account", "ask the channel's owner"
    ),
    "forbiddenPrivacySetting": _bad("privacy", "correct options.youtube.privacy"),
    "forbiddenLicenseSetting": _bad("licence", "correct options.youtube.license"),
    "insufficientPermissions": _NO_PERMISSION,
    "authenticatedUserNotChannel": Rule(
        Class.REVOKED, "the token speaks for no YouTube channel", _RECONNECT
    ),
    "rateLimitExceeded": _RATE,
    "userRateLimitExceeded": _RATE,
    "uploadRateLimitExceeded": _RATE,
    "videoNotFound": _GONE,
    "notFound": _GONE,
    "internalError": _FAULT,
    "backendError": _FAULT,
    "processingFailure": _FAULT,
}
_UNTIL_MIDNIGHT = frozenset({"quotaExceeded", "dailyLimitExceeded"})

_NEW_FILE = "make the video anew and upload it again"

FAILURE_REASONS: Mapping[str, Rule] = {
    "codec": _bad("file's codec", _NEW_FILE),
    "conversion": _bad("file: it could not convert it", _NEW_FILE),
    "emptyFile": _bad("file: it is empty", _NEW_FILE),
    "invalidFile": _bad("file's format", _NEW_FILE),
    "tooSmall": _bad("file: it is too small", _NEW_FILE),
    "uploadAborted": Rule(Class.HANDLE_DEAD, "YouTube broke the upload off; it may be repeated"),
}

_RIGHTS = "settle the claim in YouTube Studio, or post another video"
_POLICY = "read YouTube's message in YouTube Studio"

REJECTION_REASONS: Mapping[str, Rule] = {
    "claim": _bad("video: someone claims its content", _RIGHTS),
    "copyright": _bad("video: it breaches a copyright", _RIGHTS),
    "duplicate": _bad("video: it is a duplicate", "post another video"),
    "inappropriate": _bad("video's content", _POLICY),
    "legal": _bad("video for legal reasons", _POLICY),
    "length": _bad("video's length", "cut the video, or verify the channel for long videos"),
    "termsOfUse": _bad("video: it breaches the terms of use", _POLICY),
    "trademark": _bad("video: it breaches a trademark", _RIGHTS),
    "uploaderAccountClosed": _bad("video: the channel is closed", _POLICY),
    "uploaderAccountSuspended": _bad("video: the channel is suspended", _POLICY),
}

_OUR_APP = "check GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET and the app's state at Google"

OAUTH_ERRORS: Mapping[str, Rule] = {
    "invalid_grant": Rule(
        Class.EXPIRED, "the YouTube connection has expired or was revoked", _RECONNECT
    ),
    "access_denied": Rule(Class.REVOKED, "the creator withdrew the permission", _RECONNECT),
    "admin_policy_enforced": Rule(
        Class.REVOKED, "the account's administrator forbids our app", "ask the administrator"
    ),
    "deleted_client": Rule(Class.TRANSIENT, "Google has deleted our app's credentials", _OUR_APP),
    "invalid_client": Rule(Class.TRANSIENT, "Google does not accept our app", _OUR_APP),
    "unauthorized_client": Rule(Class.TRANSIENT, "Google does not accept our app", _OUR_APP),
    "invalid_request": Rule(Class.TRANSIENT, "Google refused the token request", _OUR_APP),
    "invalid_scope": Rule(Class.TRANSIENT, "Google does not offer a permission we ask", _OUR_APP),
    "unsupported_grant_type": Rule(Class.TRANSIENT, "Google refused the token request", _OUR_APP),
}


def next_midnight_pacific(now: datetime) -> datetime:
    """Return when the quota is full again: the coming midnight in California, in UTC."""
    day = now.astimezone(_PACIFIC).date() + _DAY
    return datetime(day.year, day.month, day.day, tzinfo=_PACIFIC).astimezone(UTC)


def classify(
    status: int,
    reason: str,
    *,
    now: datetime,
    can_publish: bool = False,
    words: object = "",
    retry_after: timedelta | None = None,
) -> PlatformError:
    """Return what an error of the Data API means; `reason` is `errors[0].reason`."""
    rule = REASONS.get(reason)
    if rule is None or (status >= 500 and rule.refusal):
        rule = undocumented(status)
    return rule.error(
        reason or f"http_{status}",
        can_publish=can_publish,
        words=spoken(words),
        retry_after=retry_after,
        until=next_midnight_pacific(now) if reason in _UNTIL_MIDNIGHT else None,
    )


def classify_processing(state: str, reason: str) -> PlatformError:
    """Return what uploadStatus failed or rejected means, from failureReason or rejectionReason."""
    table = FAILURE_REASONS if state == "failed" else REJECTION_REASONS
    rule = table.get(reason) or Rule(
        Class.REJECTED, f"YouTube says that the video is {state}", _POLICY
    )
    return rule.error(f"{state}/{reason}" if reason else state, can_publish=False)


def classify_oauth(status: int, code: str, words: object = "") -> PlatformError:
    """Return what a refused token request means."""
    rule = OAUTH_ERRORS.get(code) or Rule(
        Class.TRANSIENT, "Google gave no new token", unhealthy=status >= 500
    )
    return rule.error(code or f"http_{status}", can_publish=False, words=spoken(words))


def classify_revoke(status: int, code: str, words: object = "") -> PlatformError:
    """Return what a refused withdrawal means: AuthExpiredError where the token is not known."""
    if code in {"invalid_token", "invalid_grant"}:
        rule = Rule(Class.AUTH_EXPIRED, "Google does not know the token that is to be revoked")
        return rule.error(code, can_publish=False, words=spoken(words))
    return classify_oauth(status, code, words)
