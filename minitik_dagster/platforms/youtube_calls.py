"""YouTube's HTTP: the Data API, resumable sessions and Google's token endpoint."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic import SecretStr

from minitik_dagster.clock import Clock
from minitik_dagster.errors import HandleDeadError, PlatformError
from minitik_dagster.platforms.answers import Answer, dig
from minitik_dagster.platforms.endpoints import Endpoints
from minitik_dagster.platforms.http import LaneName, PlatformHttp
from minitik_dagster.platforms.port import SendGate, TokenSet
from minitik_dagster.platforms.tokens import bearer, read_oauth_error, read_tokens
from minitik_dagster.platforms.youtube_outcomes import classify, classify_oauth, classify_revoke

_RANGE = re.compile(r"bytes=0-(\d{1,15})")
# The last byte's answer comes after YouTube has stored the whole file.
_UPLOAD_READ_SECONDS = 120.0


# "Metrics" of the YouTube Analytics API; in `views` playback starts count, `engagedViews` is the older
# meaning of a view.
REPORT_METRICS = (
    "views",
    "engagedViews",
    "estimatedMinutesWatched",
    "averageViewDuration",
    "averageViewPercentage",
    "likes",
    "comments",
    "shares",
    "subscribersGained",
)


@dataclass(frozen=True)
class SessionState:
    """Where an upload session stands: the finished video's id, or how many bytes are stored."""

    video_id: str | None
    stored: int


class YouTubeCalls:
    """One method per endpoint; each raises the classes of youtube_outcomes."""

    def __init__(self, http: PlatformHttp, endpoints: Endpoints, clock: Clock) -> None:
        self._http = http
        self.base = endpoints.youtube_api
        self._analytics = endpoints.youtube_analytics
        self._oauth = endpoints.google_oauth
        self._app = endpoints.google_app
        self._clock = clock

    def refused(self, answer: Answer, *, can_publish: bool = False) -> PlatformError:
        """Return what an answer that is no success means."""
        got = answer.json
        error = got.get("error")
        reason = dig(error, "errors", 0, "reason")
        return classify(
            answer.status,
            reason if isinstance(reason, str) else "",
            now=self._clock.now(),
            can_publish=can_publish,
            words=dig(error, "message"),
            retry_after=answer.retry_after(self._clock.now()),
        )

    async def api(
        self,
        method: str,
        path: str,
        token: SecretStr,
        body: Mapping[str, Any] | None = None,
        *,
        can_publish: bool = False,
        gate: SendGate | None = None,
    ) -> dict[str, Any]:
        """Call the Data API; return the JSON of a 2xx answer (empty for 204)."""
        answer = await self._http.send(
            method,
            self.base + path,
            lane=LaneName.COMMIT if can_publish else LaneName.CALLS,
            headers=bearer(token),
            json=body,
            can_publish=can_publish,
            gate=gate,
        )
        if answer.status in {200, 201, 204}:
            return answer.json
        raise self.refused(answer, can_publish=can_publish)

    async def start_session(
        self, token: SecretStr, body: Mapping[str, Any], size: int, mime_type: str, *, notify: bool
    ) -> str:
        """Open a resumable session; return its URI (a credential)."""
        answer = await self._http.send(
            "POST",
            f"{self.base}/upload/youtube/v3/videos?uploadType=resumable&part=snippet,status"
            f"&notifySubscribers={'true' if notify else 'false'}",
            headers={
                **bearer(token),
                "X-Upload-Content-Length": str(size),
                "X-Upload-Content-Type": mime_type,
            },
            json=body,
        )
        location = answer.headers.get("location")
        if answer.status != 200 or not location:
            raise self.refused(answer)
        return location

    async def session_state(self, session: SecretStr, token: SecretStr, size: int) -> SessionState:
        """Ask a session for its offset; a finished one repeats its final answer."""
        answer = await self._http.send(
            "PUT",
            session.get_secret_value(),
            headers={
                **bearer(token),
                "Content-Length": "0",
                "Content-Range": f"bytes */{size}",
            },
            content=b"",
        )
        return self._state(answer)

    async def send_bytes(
        self,
        session: SecretStr,
        token: SecretStr,
        *,
        start: int,
        size: int,
        mime_type: str,
        body: AsyncIterator[bytes],
    ) -> SessionState:
        """Send everything from `start` to the end in one PUT."""
        headers = {
            **bearer(token),
            "Content-Type": mime_type,
            "Content-Length": str(size - start),
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        answer = await self._http.send(
            "PUT",
            session.get_secret_value(),
            lane=LaneName.BULK,
            headers=headers,
            content=body,
            read_seconds=_UPLOAD_READ_SECONDS,
        )
        return self._state(answer)

    def _state(self, answer: Answer) -> SessionState:
        if answer.status == 308:
            found = _RANGE.fullmatch(answer.headers.get("range", ""))
            return SessionState(None, int(found[1]) + 1 if found else 0)
        video = answer.json.get("id")
        if answer.status in {200, 201} and isinstance(video, str):
            return SessionState(video, 0)
        if answer.status in {404, 410}:
            # The guide names 404 for a session that has expired; 410 was seen in public code.
            raise HandleDeadError("the YouTube upload session has ended", code="session_gone")
        raise self.refused(answer)

    async def video(self, token: SecretStr, video: str) -> dict[str, Any] | None:
        """Read a video's status and processing; None where it is not on the list."""
        got = await self.api(
            "GET", f"/youtube/v3/videos?part=status,processingDetails&id={video}", token
        )
        item = dig(got, "items", 0)
        return item if isinstance(item, dict) else None

    async def uploads_with_tag(self, token: SecretStr, tag: str) -> str | None:
        """Look through the channel's newest 50 uploads for a video that carries `tag`."""
        got = await self.api("GET", "/youtube/v3/channels?part=contentDetails&mine=true", token)
        uploads = dig(got, "items", 0, "contentDetails", "relatedPlaylists", "uploads")
        if not isinstance(uploads, str):
            return None
        listed = await self.api(
            "GET",
            f"/youtube/v3/playlistItems?part=contentDetails&maxResults=50&playlistId={uploads}",
            token,
        )
        ids = [dig(item, "contentDetails", "videoId") for item in listed.get("items") or []]
        known = [one for one in ids if isinstance(one, str)]
        if not known:
            return None
        videos = await self.api(
            "GET", f"/youtube/v3/videos?part=snippet,status&id={','.join(known)}", token
        )
        for item in videos.get("items") or []:
            if tag in (dig(item, "snippet", "tags") or []):
                return str(item["id"])
        return None

    async def set_thumbnail(self, token: SecretStr, video: str, image: bytes, kind: str) -> None:
        """Set a video's thumbnail."""
        answer = await self._http.send(
            "POST",
            f"{self.base}/upload/youtube/v3/thumbnails/set?videoId={video}",
            lane=LaneName.BULK,
            headers={**bearer(token), "Content-Type": kind},
            content=image,
        )
        if answer.status != 200:
            raise self.refused(answer)

    async def statistics(
        self, token: SecretStr, videos: Sequence[str]
    ) -> list[tuple[str, Mapping[str, Any]]]:
        """Read the counters of up to 50 videos."""
        got = await self.api(
            "GET", f"/youtube/v3/videos?part=statistics&id={','.join(videos)}", token
        )
        return [
            (str(item["id"]), dig(item, "statistics") or {})
            for item in got.get("items") or []
            if dig(item, "id")
        ]

    async def daily_reports(
        self, token: SecretStr, first: date, last: date
    ) -> dict[date, dict[str, float]]:
        """Read the channel's report by Pacific day; days without data are absent ("Reports: query")."""
        answer = await self._http.send(
            "GET",
            f"{self._analytics}/v2/reports?ids=channel==MINE&dimensions=day&startDate={first}"
            f"&endDate={last}&metrics={','.join(REPORT_METRICS)}",
            headers=bearer(token),
        )
        if answer.status != 200:
            raise self.refused(answer)
        got = answer.json
        names = [str(dig(column, "name")) for column in got.get("columnHeaders") or []]
        found = {}
        for row in got.get("rows") or []:
            told = dict(zip(names, row, strict=True))
            found[date.fromisoformat(str(told.pop("day")))] = told
        return found

    async def refresh(self, refresh_token: SecretStr) -> TokenSet:
        """Get a new access token; the refresh token stays unless the answer has another."""
        client_id, client_secret = self._app.credentials()
        answer = await self._http.send(
            "POST",
            self._oauth + "/token",
            form={
                "client_id": client_id,
                "client_secret": client_secret,
                "grant_type": "refresh_token",
                "refresh_token": refresh_token.get_secret_value(),
            },
        )
        if answer.status != 200 or not isinstance(answer.json.get("access_token"), str):
            raise classify_oauth(answer.status, *read_oauth_error(answer))
        return read_tokens(answer.json, kept=refresh_token)

    async def revoke(self, token: SecretStr) -> None:
        """Withdraw the app's access ("Using OAuth 2.0 for Web Server Applications", revoking)."""
        answer = await self._http.send(
            "POST", self._oauth + "/revoke", form={"token": token.get_secret_value()}
        )
        if answer.status != 200:
            raise classify_revoke(answer.status, *read_oauth_error(answer))
