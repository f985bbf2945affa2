"""TikTok's documented codes and what each means for us.

Sources: "TikTok API v2 Error Handling", "Query Creator Info", "Direct Post", "Get Post Status",
"Media Transfer Guide", "OAuth Error Handling" (developers.tiktok.com).
"""

from collections.abc import Mapping
from datetime import timedelta

from minitik_dagster.errors import PlatformError
from minitik_dagster.platforms.outcomes import Class, Rule, spoken, undocumented

POLICY_VERSION = "tiktok-2026-11.1"

_RECONNECT = "reconnect the TikTok account and grant every permission it asks for"
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
_NO_PERMISSION = Rule(
    Class.REVOKED, "TikTok has not granted the permission to post", _RECONNECT, permission=True
)
_BAD_PARAMETER = Rule(
    Class.REJECTED, "TikTok refused a value of the post", "correct what TikTok names"
)

API_CODES: Mapping[str, Rule] = {
    "access_token_invalid": Rule(
        Class.AUTH_EXPIRED, "the TikTok access token is not accepted", _RECONNECT
    ),
    "scope_not_authorized": _NO_PERMISSION,
    "scope_permission_missed": _NO_PERMISSION,
    "internal_error": Rule(
        Class.TRANSIENT, "TikTok had a fault of its own", unhealthy=True, refusal=False
    ),
    "rate_limit_exceeded": Rule(
        Class.THROTTLED, "TikTok allows no more calls this minute", wait=_MINUTE
    ),
    "invalid_param": _BAD_PARAMETER,
    "invalid_params": _BAD_PARAMETER,
    "invalid_file_upload": Rule(
        Class.REJECTED, "TikTok refused the file", "upload an MP4, MOV or WebM that TikTok takes"
    ),
    "spam_risk_too_many_posts": Rule(
        Class.THROTTLED,
        "the account has reached TikTok's daily number of posts",
        "wait until posts of the last 24 hours have aged",
        wait=_HOUR,
    ),
    "spam_risk_user_banned_from_posting": Rule(
        Class.REJECTED,
        "TikTok has banned the account from posting",
        "open TikTok and settle the ban there",
    ),
    "spam_risk_too_many_pending_share": Rule(
        Class.THROTTLED, "five uploads are waiting in the TikTok inbox", wait=_HOUR
    ),
    "reached_active_user_cap": Rule(
        Class.THROTTLED,
        "our TikTok app has reached its daily number of posting users",
        "wait a day, or have the app audited by TikTok",
        wait=_HOUR,
    ),
    "unaudited_client_can_only_post_to_private_accounts": Rule(
        Class.REJECTED,
        "our TikTok app is not audited yet and may post to private accounts only",
        "set the TikTok account to private, or have the app audited by TikTok",
    ),
    "url_ownership_unverified": Rule(
        Class.REJECTED,
        "TikTok does not know the media's domain as ours",
        "verify TIKTOK_PULL_DOMAIN at TikTok",
    ),
    "privacy_level_option_mismatch": Rule(
        Class.REJECTED,
        "the account does not offer the chosen privacy level",
        "choose one of the levels that the account offers",
    ),
    "invalid_publish_id": Rule(
        Class.HANDLE_DEAD, "TikTok does not know the post that was begun", refusal=False
    ),
    "token_not_authorized_for_specified_publish_id": Rule(
        Class.REJECTED,
        "the post was begun for another TikTok account",
        "reconnect the account that the post was prepared for",
    ),
    "publish_not_cancellable": Rule(Class.REJECTED, "the post can no longer be cancelled"),
}

UPLOAD_STATUSES: Mapping[int, Rule] = {
    400: Rule(Class.HANDLE_DEAD, "TikTok called the chunk malformed", refusal=False),
    403: Rule(Class.HANDLE_DEAD, "the TikTok upload URL has expired"),
    404: Rule(Class.HANDLE_DEAD, "TikTok knows no such upload"),
    416: Rule(Class.TRANSIENT, "TikTok stands at another byte of the upload", refusal=False),
    500: Rule(Class.TRANSIENT, "TikTok had a fault of its own", unhealthy=True, refusal=False),
    502: Rule(Class.TRANSIENT, "TikTok had a fault of its own", unhealthy=True, refusal=False),
    503: Rule(Class.TRANSIENT, "TikTok had a fault of its own", unhealthy=True, refusal=False),
    504: Rule(Class.TRANSIENT, "TikTok had a fault of its own", unhealthy=True, refusal=False),
}

_BAD_FILE = "make the video anew within TikTok's limits and upload it again"
_SPAM = "change the post; TikTok does not take it as it is"

FAIL_REASONS: Mapping[str, Rule] = {
    "file_format_check_failed": Rule(
        Class.REJECTED, "TikTok does not take the file's format", _BAD_FILE
    ),
    "duration_check_failed": Rule(
        Class.REJECTED, "TikTok does not take the video's duration", _BAD_FILE
    ),
    "frame_rate_check_failed": Rule(
        Class.REJECTED, "TikTok does not take the video's frame rate", _BAD_FILE
    ),
    "picture_size_check_failed": Rule(
        Class.REJECTED, "TikTok does not take the video's width or height", _BAD_FILE
    ),
    "internal": Rule(Class.HANDLE_DEAD, "TikTok failed to process the video; it may be repeated"),
    "video_pull_failed": Rule(Class.HANDLE_DEAD, "TikTok could not fetch the video"),
    "photo_pull_failed": Rule(Class.HANDLE_DEAD, "TikTok could not fetch the photo"),
    "publish_cancelled": Rule(Class.REJECTED, "the post was cancelled at TikTok"),
    "auth_removed": Rule(
        Class.REVOKED, "the creator withdrew the permission while the post was made", _RECONNECT
    ),
    "spam_risk_too_many_posts": Rule(
        Class.REJECTED,
        "the account has reached TikTok's daily number of posts",
        "schedule the post again for another day",
    ),
    "spam_risk_user_banned_from_posting": Rule(
        Class.REJECTED,
        "TikTok has banned the account from posting",
        "open TikTok and settle the ban there",
    ),
    "spam_risk_text": Rule(Class.REJECTED, "TikTok takes the text for spam", _SPAM),
    "spam_risk": Rule(Class.REJECTED, "TikTok takes the post for spam", _SPAM),
}

_OUR_APP = "check TIKTOK_CLIENT_ID and TIKTOK_CLIENT_SECRET and the app's state at TikTok"

OAUTH_ERRORS: Mapping[str, Rule] = {
    "invalid_grant": Rule(
        Class.EXPIRED, "the TikTok connection has ended", "reconnect the TikTok account"
    ),
    "access_denied": Rule(
        Class.REVOKED, "the creator withdrew the permission", "reconnect the TikTok account"
    ),
    "invalid_client": Rule(Class.TRANSIENT, "TikTok does not accept our app", _OUR_APP),
    "invalid_request": Rule(Class.TRANSIENT, "TikTok refused the token request", _OUR_APP),
    "invalid_scope": Rule(Class.TRANSIENT, "TikTok does not offer a permission we ask", _OUR_APP),
    "unauthorized_client": Rule(Class.TRANSIENT, "TikTok does not accept our app", _OUR_APP),
    "unsupported_grant_type": Rule(Class.TRANSIENT, "TikTok refused the token request", _OUR_APP),
    "unsupported_response_type": Rule(
        Class.TRANSIENT, "TikTok refused the token request", _OUR_APP
    ),
    "server_error": Rule(Class.TRANSIENT, "TikTok had a fault of its own", unhealthy=True),
    "temporarily_unavailable": Rule(Class.TRANSIENT, "TikTok is not available", unhealthy=True),
}


def classify(
    status: int,
    code: str,
    *,
    can_publish: bool = False,
    words: object = "",
    request_id: str | None = None,
    retry_after: timedelta | None = None,
) -> PlatformError:
    """Return what an error of the v2 APIs means; errors may come with HTTP 200."""
    rule = API_CODES.get(code) or undocumented(status)
    return rule.error(
        code or f"http_{status}",
        can_publish=can_publish,
        words=spoken(words),
        request_id=request_id,
        retry_after=retry_after,
    )


def classify_upload(status: int, *, can_publish: bool = False) -> PlatformError:
    """Return what a refused chunk means: uploads answer by status alone."""
    rule = UPLOAD_STATUSES.get(status) or undocumented(status)
    return rule.error(f"upload_{status}", can_publish=can_publish)


def classify_failure(reason: str) -> PlatformError:
    """Return what a FAILED post's fail_reason means: HandleDeadError where a new init may follow."""
    rule = FAIL_REASONS.get(reason) or Rule(
        Class.REJECTED, "TikTok failed the post for a reason it does not document"
    )
    return rule.error(reason or "failed", can_publish=False)


def classify_oauth(status: int, code: str, words: object = "") -> PlatformError:
    """Return what a refused token request means."""
    rule = OAUTH_ERRORS.get(code)
    if rule is None:
        rule = Rule(
            Class.TRANSIENT, "TikTok gave no new token", unhealthy=status >= 500, refusal=False
        )
    return rule.error(code or f"http_{status}", can_publish=False, words=spoken(words))


def classify_revoke(status: int, code: str, words: object = "") -> PlatformError:
    """Return what a refused withdrawal means: AuthExpiredError where the token is not taken.

    The page "Revoke a User Access Token" names no codes of its own; "Error Handling" calls a token that
    is not good a malformed request or an invalid grant.
    """
    if code in {"invalid_request", "invalid_grant", "access_denied"}:
        rule = Rule(Class.AUTH_EXPIRED, "TikTok does not take the token that is to be revoked")
        return rule.error(code, can_publish=False, words=spoken(words))
    return classify_oauth(status, code, words)
