"""TikTok's answers: `{data, error{code, message, log_id}}`, and the flat OAuth errors.

Rules: "TikTok API v2 Error Handling", "OAuth Error Handling", "Direct Post - Content Posting API".
"""

import secrets
import time
from typing import Any, Final

from minitik_dagster.local.sandbox.http import Reply, json_reply

STATUS_OF: Final = {
    "access_token_invalid": 401,
    "scope_not_authorized": 401,
    "scope_permission_missed": 400,
    "invalid_param": 400,
    "invalid_params": 400,
    "invalid_file_upload": 400,
    "invalid_publish_id": 400,
    "token_not_authorized_for_specified_publish_id": 400,
    "publish_not_cancellable": 400,
    "spam_risk_too_many_posts": 403,
    "spam_risk_user_banned_from_posting": 403,
    "reached_active_user_cap": 403,
    "unaudited_client_can_only_post_to_private_accounts": 403,
    "url_ownership_unverified": 403,
    "privacy_level_option_mismatch": 403,
    "rate_limit_exceeded": 429,
    "internal_error": 500,
}
OAUTH_NAMES: Final = frozenset(
    {
        "access_denied", "invalid_client", "invalid_grant", "invalid_request", "invalid_scope",
        "unauthorized_client", "unsupported_grant_type", "unsupported_response_type",
        "server_error", "temporarily_unavailable",
    }
)  # fmt: skip
CODE_OF: Final = {400: "invalid_param", 401: "access_token_invalid", 429: "rate_limit_exceeded"}


def _log_id() -> str:
    return time.strftime("%Y%m%d%H%M%S", time.gmtime()) + secrets.token_hex(9).upper()


def ok(data: dict[str, Any]) -> Reply:
    """Answer success."""
    return json_reply(
        200, {"data": data, "error": {"code": "ok", "message": "", "log_id": _log_id()}}
    )


def error(code: str, message: str, status: int | None = None) -> Reply:
    """Refuse, with the status the vendor's table gives the code unless one is named."""
    return json_reply(
        status or STATUS_OF.get(code, 500),
        {"data": {}, "error": {"code": code, "message": message, "log_id": _log_id()}},
    )


def oauth_error(name: str, description: str, status: int = 400) -> Reply:
    """Refuse at the OAuth endpoints: another, flat envelope."""
    return json_reply(
        status, {"error": name, "error_description": description, "log_id": _log_id()}
    )
