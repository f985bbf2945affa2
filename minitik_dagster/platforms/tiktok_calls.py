"""TikTok's HTTP: the v2 envelope, chunks, and the token endpoint. No decisions about posts here."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from minitik_dagster.clock import Clock
from minitik_dagster.platforms.answers import Answer, dig, whole_number
from minitik_dagster.platforms.chunks import ChunkPlan
from minitik_dagster.platforms.endpoints import Endpoints
from minitik_dagster.platforms.http import LaneName, PlatformHttp
from minitik_dagster.platforms.port import SendGate, TokenSet
from minitik_dagster.platforms.tiktok_outcomes import classify, classify_oauth, classify_revoke
from minitik_dagster.platforms.tokens import bearer, read_oauth_error, read_tokens


@dataclass(frozen=True)
class Data:
    """A successful answer's `data`, and the `log_id` that TikTok's support asks for."""

    values: Mapping[str, Any]
    log_id: str | None


@dataclass(frozen=True)
class Status:
    """What status/fetch says of a publish_id; `post_ids` are int64 and kept as text."""

    state: str
    fail_reason: str
    uploaded_bytes: int | None
    post_ids: tuple[str, ...]
    log_id: str | None


class TikTokCalls:
    """One method per endpoint; each raises the classes of tiktok_outcomes."""

    def __init__(self, http: PlatformHttp, endpoints: Endpoints, clock: Clock) -> None:
        self._http = http
        self._base = endpoints.tiktok_api
        self._app = endpoints.tiktok_app
        self._clock = clock

    async def api(
        self,
        path: str,
        token: SecretStr,
        body: Mapping[str, Any] | None = None,
        method: str = "POST",
    ) -> Data:
        """Call a v2 endpoint and open its envelope: `error.code` decides, never the status."""
        answer = await self._http.send(
            method,
            self._base + path,
            headers={**bearer(token), "Content-Type": "application/json; charset=UTF-8"},
            json=body,
        )
        envelope = answer.json
        code = str(dig(envelope, "error", "code") or "")
        log_id = dig(envelope, "error", "log_id") or dig(envelope, "error", "logid")
        if answer.status == 200 and code == "ok":
            return Data(dig(envelope, "data") or {}, log_id)
        raise classify(
            answer.status,
            "" if code == "ok" else code,
            words=dig(envelope, "error", "message"),
            request_id=log_id,
            retry_after=answer.retry_after(self._clock.now()),
        )

    async def creator_info(self, token: SecretStr) -> Data:
        """Ask what the creator may post now; errors come with HTTP 200 here (intentional)."""
        return await self.api("/v2/post/publish/creator_info/query/", token)

    async def init(
        self, token: SecretStr, post_info: Mapping[str, Any], plan: ChunkPlan
    ) -> tuple[str, str, str | None]:
        """Open a FILE_UPLOAD post; return publish_id, upload_url (a credential) and log_id."""
        source = {
            "source": "FILE_UPLOAD",
            "video_size": plan.size,
            "chunk_size": plan.chunk_size,
            "total_chunk_count": plan.count,
        }
        got = await self.api(
            "/v2/post/publish/video/init/", token, {"post_info": post_info, "source_info": source}
        )
        publish_id, upload_url = got.values.get("publish_id"), got.values.get("upload_url")
        if not isinstance(publish_id, str) or not isinstance(upload_url, str):
            raise classify(200, "", words="init named no publish_id", request_id=got.log_id)
        return publish_id, upload_url, got.log_id

    async def status(self, token: SecretStr, publish_id: str) -> Status:
        """Ask how far a post is."""
        got = await self.api("/v2/post/publish/status/fetch/", token, {"publish_id": publish_id})
        ids = got.values.get("publicaly_available_post_id")
        return Status(
            state=str(got.values.get("status") or ""),
            fail_reason=str(got.values.get("fail_reason") or ""),
            uploaded_bytes=whole_number(got.values.get("uploaded_bytes")),
            post_ids=tuple(str(one) for one in ids) if isinstance(ids, list) else (),
            log_id=got.log_id,
        )

    async def put_chunk(
        self,
        upload_url: SecretStr,
        plan: ChunkPlan,
        index: int,
        mime_type: str,
        body: AsyncIterator[bytes],
        *,
        gate: SendGate | None = None,
    ) -> Answer:
        """Send one chunk; the last one is the call that publishes and goes through the commit lane."""
        start, length = plan.span(index)
        last = index == plan.count - 1
        return await self._http.send(
            "PUT",
            upload_url.get_secret_value(),
            lane=LaneName.COMMIT if last else LaneName.BULK,
            headers={
                "Content-Type": mime_type,
                "Content-Length": str(length),
                "Content-Range": f"bytes {start}-{start + length - 1}/{plan.size}",
            },
            content=body,
            can_publish=last,
            gate=gate,
            read_seconds=60.0,
        )

    async def refresh(self, refresh_token: SecretStr) -> TokenSet:
        """Rotate the tokens: the old refresh token stops working with the answer."""
        client_id, client_secret = self._app.credentials()
        answer = await self._http.send(
            "POST",
            self._base + "/v2/oauth/token/",
            form={
                "client_key": client_id,
                "client_secret": client_secret,
                "grant_type": "refresh_token",
                "refresh_token": refresh_token.get_secret_value(),
            },
        )
        if answer.status != 200 or not isinstance(answer.json.get("access_token"), str):
            raise classify_oauth(answer.status, *read_oauth_error(answer))
        return read_tokens(answer.json, kept=refresh_token, separator=",")

    async def revoke(self, access_token: SecretStr) -> None:
        """Withdraw the app's access ("Revoke a User Access Token"); success is an empty answer."""
        client_id, client_secret = self._app.credentials()
        answer = await self._http.send(
            "POST",
            self._base + "/v2/oauth/revoke/",
            form={
                "client_key": client_id,
                "client_secret": client_secret,
                "token": access_token.get_secret_value(),
            },
        )
        if answer.status != 200 or answer.json.get("error"):
            raise classify_revoke(answer.status, *read_oauth_error(answer))
