"""A body that works, for each operation that takes one: what `/docs` shows and a generator's tests send.

By operation id; `tests/api/test_openapi.py` holds each to its schema, and misses none.
"""

from collections.abc import MutableMapping
from typing import Any, Final

_CONTENT: Final = "clx0content00000000000000"
_ACCOUNT: Final = "clx0account00000000000000"
_POST: Final[dict[str, Any]] = {
    "contentId": _CONTENT,
    "accountIds": [_ACCOUNT],
    "options": {"tiktok": {"privacy": "PUBLIC_TO_EVERYONE", "isAigc": True}},
}
_WHEN: Final = {"scheduledAt": "2026-12-24T18:00:00", "timezone": "Europe/Berlin"}
_FILE: Final = {
    "title": "A clip",
    "filename": "clip.mp4",
    "mimeType": "video/mp4",
    "fileSize": 48_000_000,
    "description": "Shown as the caption where no other is given #clip",
}
EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "begin_upload": _FILE,
    "confirm_part": {"etag": "9bb58f26192e4ba00f01e2e7b136bbd8"},
    "complete_upload": {
        "parts": [{"partNumber": 1, "etag": "9bb58f26192e4ba00f01e2e7b136bbd8"}],
    },
    "change_library_content": {"title": "A better title", "description": None},
    "delete_library_contents": {"ids": [_CONTENT], "posts": "cancel"},
    "schedule_post": {**_POST, **_WHEN},
    "change_scheduled_job": {"scheduledAt": "2026-12-24T20:30:00", "timezone": "Europe/Berlin"},
    "schedule_bulk": {"posts": [{"contentId": _CONTENT, "accountIds": [_ACCOUNT], **_WHEN}]},
    "publish_post": _POST,
    "validate_post": {**_POST, **_WHEN},
    "replay_failed_posts": {"code": "too_late", "maxLateness": 86_400, "dryRun": True},
    "pause_queue": {"platform": "TIKTOK", "reason": "TikTok answers every call with 500"},
    "resume_queue": {"platform": "TIKTOK"},
    "begin_connection": {"provider": "tiktok"},
    "change_account": {"defaultPrivacy": "PUBLIC_TO_EVERYONE"},
    "send_magic_link": {"email": "you@example.com"},
    "verify_magic_link": {"token": "the part of the link after token="},
    "sign_out": {"everywhere": False},
    "create_key": {"name": "the scheduling script", "scopes": ["schedule:write", "content:read"]},
    "create_webhook": {
        "url": "https://example.com/minitik",
        "events": ["publication.published", "publication.failed"],
        "description": "tells our chat",
    },
    "change_webhook": {"enabled": False},
    "change_wishes": {
        "kinds": {"content_published": {"push": True, "email": False}},
        "timezone": "Europe/Lisbon",
        "quietHours": {"from": "22:00", "to": "07:30"},
        "reminderMinutes": 60,
    },
    "subscribe": {
        "endpoint": "https://push.example.com/send/of-this-browser",
        "keys": {
            "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "auth": "BTBZMqHH6r4Tts7J_aSIgg",
        },
    },
    "order_export": {"format": "csv", "range": "30d"},
}


def add_examples(operation: MutableMapping[str, Any]) -> None:
    """Put the operation's example beside the schema of each body that is an object."""
    name = operation.get("operationId", "").partition("_alias")[0]
    bodies = operation.get("requestBody", {}).get("content", {})
    for kind, body in bodies.items():
        if name in EXAMPLES and kind in ("application/json", "application/x-www-form-urlencoded"):
            body.setdefault("example", EXAMPLES[name])
