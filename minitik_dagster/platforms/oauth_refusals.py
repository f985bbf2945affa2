"""Why connecting an account ended without one: our codes, and what each platform's mean.

Sources: "OAuth Error Handling" (developers.tiktok.com), "Business Login for Instagram"
(developers.facebook.com), "Using OAuth 2.0 for Web Server Applications" (developers.google.com).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import MinitikError, NotConnectedError, TransientError
from minitik_dagster.platforms.outcomes import spoken

NAMES: Final[Mapping[Platform, str]] = MappingProxyType(
    {Platform.TIKTOK: "TikTok", Platform.INSTAGRAM: "Instagram", Platform.YOUTUBE: "YouTube"}
)


@dataclass(frozen=True)
class Refusal:
    """One code's reason and fix; `{platform}` stands for the platform's name."""

    reason: str
    fix: str


_AGAIN: Final = "begin again with POST /api/accounts/initiate"
_OPERATOR: Final = "the operator compares the app's settings at {platform} with docs/accounts.md"

REFUSALS: Final[Mapping[str, Refusal]] = MappingProxyType(
    {
        "state_unknown": Refusal(
            "this connection was not begun here, or for another platform", _AGAIN
        ),
        "state_used": Refusal("this connection has been finished before", _AGAIN),
        "state_expired": Refusal("this connection was begun more than 10 minutes ago", _AGAIN),
        "other_browser": Refusal(
            "this connection was begun in another browser session",
            "finish it in the browser in which it was begun, signed in as the same person",
        ),
        "access_denied": Refusal(
            "the permission was denied on {platform}'s page",
            "begin again, and choose Allow there",
        ),
        "admin_forbids": Refusal(
            "the account's administrator forbids our app",
            "ask the administrator of the Google Workspace to allow the app",
        ),
        "code_missing": Refusal("{platform} sent no code", _AGAIN),
        "code_unusable": Refusal(
            "{platform} takes its code no more: it was used before, or has expired", _AGAIN
        ),
        "wrong_redirect": Refusal(
            "{platform} does not accept our redirect URI",
            "the operator registers NEXTAUTH_URL/api/accounts/callback/… at {platform}, exactly",
        ),
        "app_refused": Refusal("{platform} does not accept our app or its secret", _OPERATOR),
        "scope_not_offered": Refusal("{platform} offers our app not all permissions", _OPERATOR),
        "scopes_missing": Refusal(
            "the permissions that were granted do not even tell whose account it is",
            "begin again, and leave every permission ticked",
        ),
        "no_refresh_token": Refusal(
            "{platform} sent no refresh token, so the connection would end with its first token",
            "remove the app from the account's connected apps at {platform}, then connect again",
        ),
        "no_channel": Refusal(
            "the Google account has no YouTube channel", "create a channel first, then connect"
        ),
        "other_account": Refusal(
            "another {platform} account was chosen than the one to reconnect",
            "begin again and choose the same account, or connect the other one as a new account",
        ),
        "platform_refused": Refusal("{platform} refused the connection", _AGAIN),
    }
)

# The platforms' own codes, from the redirect and from the token endpoint; case as documented.
OAUTH_CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "access_denied": "access_denied",
        "admin_policy_enforced": "admin_forbids",
        "org_internal": "app_refused",
        "invalid_grant": "code_unusable",
        "redirect_uri_mismatch": "wrong_redirect",
        "invalid_client": "app_refused",
        "unauthorized_client": "app_refused",
        "deleted_client": "app_refused",
        "invalid_scope": "scope_not_offered",
        # The Graph API's number for a permission that was not granted.
        "10": "scopes_missing",
    }
)
_PASSING: Final = frozenset({"server_error", "temporarily_unavailable", "internal_failure"})


def refusal(code: str, platform: Platform, words: object = "") -> NotConnectedError:
    """Return the error of one of our codes; `words` are the platform's own."""
    rule, name, said = REFUSALS[code], NAMES[platform], spoken(words)
    reason = rule.reason.format(platform=name)
    return NotConnectedError(
        f"{reason}: {said}" if said else reason, code=code, fix=rule.fix.format(platform=name)
    )


def read_refusal(
    platform: Platform, code: str, words: object = "", *, status: int = 400
) -> MinitikError:
    """Return what a platform's refusal means; TransientError where trying again may help."""
    if code in _PASSING or status >= 500 or status == 429:
        return TransientError(
            f"{NAMES[platform]} is not available; connect again in a while",
            code=code[:100] or f"http_{status}",
            unhealthy=status >= 500,
        )
    ours = OAUTH_CODES.get(code)
    if ours is None:
        ours = _read_words(str(words or ""))
    return refusal(ours, platform, words)


def _read_words(words: str) -> str:
    """Tell by the message: Instagram has one code for all, TikTok's invalid_request several causes."""
    text = words.lower()
    if "redirect" in text:
        return "wrong_redirect"
    if "code" in text and any(word in text for word in ("used", "expired", "invalid")):
        return "code_unusable"
    if "client" in text or "app " in text:
        return "app_refused"
    return "platform_refused"
