"""`POST /api/webhooks/tiktok`: TikTok's own events; their signature is the only credential."""

from typing import Annotated, Any, Final

from fastapi import Depends, Header, HTTPException, Request

from minitik_dagster.api.dependencies import SessionDep, SettingsDep
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.schemas.base import View
from minitik_dagster.errors import ConfigurationError
from minitik_dagster.platforms.tiktok_events import (
    MAX_EVENT_BYTES,
    SIGNATURE_HEADER,
    read_event,
    signed_at,
)
from minitik_dagster.publishing.inbound_events import receive

router = Router(prefix="/api/webhooks", tags=["webhooks"])

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["client_key", "event", "create_time", "user_openid"],
                    "properties": {
                        "client_key": {"type": "string", "minLength": 1, "maxLength": 200},
                        "event": {"type": "string", "minLength": 1, "maxLength": 200},
                        "create_time": {
                            "type": "integer",
                            "minimum": 0,
                            "description": "epoch seconds",
                        },
                        "user_openid": {"type": "string", "minLength": 1, "maxLength": 200},
                        "content": {"type": "string", "description": "a JSON object as text"},
                    },
                },
                "example": {
                    "client_key": "your-client-key",
                    "event": "authorization.removed",
                    "create_time": 1615338610,
                    "user_openid": "act.example12345Example12345Example",
                    "content": '{"reason": 1}',
                },
            }
        },
    }
}


class ReceivedView(View):
    """The event is stored; `duplicate` when it was before. What it changed is not told."""

    received: bool = True
    duplicate: bool


async def read_raw(request: Request) -> bytes:
    """Return the body byte by byte as it was signed; 413 over MAX_EVENT_BYTES."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_EVENT_BYTES:
            raise HTTPException(413, f"an event may have {MAX_EVENT_BYTES} bytes")
    return bytes(body)


@router.post("/tiktok", responses=problems(413), openapi_extra=_BODY)
def receive_tiktok_event(
    body: Annotated[bytes, Depends(read_raw)],
    session: SessionDep,
    settings: SettingsDep,
    signature: Annotated[
        str | None,
        Header(
            alias=SIGNATURE_HEADER,
            max_length=1000,
            description="`t=<epoch seconds>,s=<hex>`: HMAC-SHA256 of `t`, a full stop and the body, "
            "keyed with TIKTOK_CLIENT_SECRET",
        ),
    ] = None,
) -> ReceivedView:
    """Take an event of TikTok's: store it once, and let it come true."""
    secret, client_key = settings.tiktok_client_secret, settings.tiktok_client_id
    if secret is None or client_key is None:
        raise ConfigurationError(
            ["TIKTOK_CLIENT_ID and TIKTOK_CLIENT_SECRET are not set: events cannot be verified"]
        )
    signed = signed_at(secret, signature, body)
    done = receive(session, read_event(body), signed=signed, client_key=client_key)
    return ReceivedView(duplicate=done.duplicate)
