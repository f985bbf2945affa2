"""Google's errors: `{error{code,message,errors[{domain,reason,message}]}}`, flat ones for OAuth.

Rules: "YouTube Data API - Errors", "Using OAuth 2.0 for Web Server Applications".
"""

from typing import Final

from minitik_dagster.local.sandbox.http import Reply, json_reply

STATUS_OF: Final = {
    "authError": 401,
    "authorizationRequired": 401,
    "youtubeSignupRequired": 401,
    "quotaExceeded": 403,
    "forbidden": 403,
    "insufficientPermissions": 403,
    "rateLimitExceeded": 429,
    "userRateLimitExceeded": 403,
    "uploadRateLimitExceeded": 429,
    "uploadLimitExceeded": 400,
    "videoNotFound": 404,
    "notFound": 404,
    "internalError": 500,
    "backendError": 503,
}
_DOMAIN_OF: Final = {
    "quotaExceeded": "youtube.quota",
    "uploadLimitExceeded": "youtube.video",
    "authError": "global",
    "insufficientPermissions": "global",
    "required": "global",
    "badRequest": "global",
    "rateLimitExceeded": "usageLimits",
    "userRateLimitExceeded": "usageLimits",
    "backendError": "global",
    "internalError": "global",
}
OAUTH_NAMES: Final = frozenset(
    {
        "access_denied", "admin_policy_enforced", "deleted_client", "invalid_client",
        "invalid_grant", "invalid_request", "invalid_scope", "unauthorized_client",
        "unsupported_grant_type",
    }
)  # fmt: skip
REASON_OF: Final = {400: "badRequest", 401: "authError", 403: "forbidden", 404: "notFound",
                    429: "rateLimitExceeded", 500: "internalError"}  # fmt: skip


def google_error(reason: str, message: str, status: int | None = None) -> Reply:
    """Refuse, with the status the vendor's table gives the reason (400 if it names none)."""
    code = status or STATUS_OF.get(reason, 400)
    domain = _DOMAIN_OF.get(reason, "youtube.video")
    item = {"message": message, "domain": domain, "reason": reason}
    headers = (("WWW-Authenticate", 'Bearer realm="https://accounts.google.com/"'),)
    return json_reply(
        code,
        {"error": {"code": code, "message": message, "errors": [item]}},
        headers if code == 401 else (),
    )


def oauth_error(name: str, description: str, status: int = 400) -> Reply:
    """Refuse at the token endpoint."""
    return json_reply(status, {"error": name, "error_description": description})
