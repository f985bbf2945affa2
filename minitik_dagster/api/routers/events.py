"""`/api/events`: what happens to the caller's posts, accounts and contents, as it happens."""

from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request
from fastapi.responses import StreamingResponse

from minitik_dagster.accounts.scopes import READS_POSTS
from minitik_dagster.api.auth import Caller, require_scope
from minitik_dagster.api.openapi import problems
from minitik_dagster.api.routing import Router
from minitik_dagster.api.streams import EventHub
from minitik_dagster.notifications.events import CONTENT_READY, STREAM_TYPES
from minitik_dagster.notifications.notices import ACCOUNT_DISCONNECTED

router = Router(tags=["webhooks"])
_MEDIA_TYPE: Final = "text/event-stream"
# What a key must be allowed to read besides posts, to be told of it here.
_NEEDED: Final = {CONTENT_READY: "content:read", ACCOUNT_DISCONNECTED: "accounts:read"}
_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Events, each with `id`, `event` (its type) and `data` (a message as webhooks "
        "are sent, or ChangedMessage). `event: reset` says that what was missed is not known.",
        "content": {_MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}


@router.get("/api/events", response_class=StreamingResponse, responses={**problems(429), **_ANSWER})
async def read_events(
    request: Request,
    caller: Annotated[Caller, Depends(require_scope(*READS_POSTS))],
    last_event_id: Annotated[
        str | None,
        Header(
            max_length=64, description="the `id` of the last event seen: what came since follows"
        ),
    ] = None,
) -> StreamingResponse:
    """Stream the caller's events (server-sent events), until the client or the server ends it."""
    hub = request.app.state.events
    assert isinstance(hub, EventHub)
    kinds = frozenset(
        kind for kind in STREAM_TYPES if kind not in _NEEDED or caller.may(_NEEDED[kind])
    )
    credential = caller.key_id or caller.session_id or ""
    stream = await hub.open(caller.user_id, credential, kinds, last_event_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, media_type=_MEDIA_TYPE, headers=headers)
