"""Events as TikTok signs them, by the rule's own words ("Check the signature")."""

import hashlib
import hmac
import json
import time
from typing import Any

from minitik_dagster.local.sandbox.urls import APP_CREDENTIALS

CLIENT_KEY = APP_CREDENTIALS["TIKTOK_CLIENT_ID"]
SECRET = APP_CREDENTIALS["TIKTOK_CLIENT_SECRET"]


def event_body(event: str, account: str, *, created: float | None = None, **content: Any) -> bytes:
    """An event's body; `created` in epoch seconds, now unless given."""
    return json.dumps(
        {
            "client_key": CLIENT_KEY,
            "event": event,
            "create_time": int(time.time() if created is None else created),
            "user_openid": account,
            "content": json.dumps(content),
        }
    ).encode()


def signature(body: bytes, *, age: float = 0, secret: str = SECRET) -> str:
    """The header's value, signed `age` seconds ago."""
    at = str(int(time.time() - age))
    return f"t={at},s={hmac.new(secret.encode(), at.encode() + b'.' + body, hashlib.sha256).hexdigest()}"
