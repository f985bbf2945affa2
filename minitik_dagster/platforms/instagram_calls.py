"""Instagram's HTTP with Instagram Login: graph.instagram.com, always with a version.

The access token goes into the Authorization header, so that no URL carries it; the renewal of a token
is the one call whose page shows it in the query only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from minitik_dagster.clock import Clock
from minitik_dagster.platforms.answers import dig, whole_number
from minitik_dagster.platforms.endpoints import Endpoints
from minitik_dagster.platforms.http import LaneName, PlatformHttp
from minitik_dagster.platforms.instagram_outcomes import classify, classify_refresh
from minitik_dagster.platforms.port import SendGate, TokenSet
from minitik_dagster.platforms.tokens import bearer, read_tokens


@dataclass(frozen=True)
class Container:
    """A container's state; `text` carries the subcode on ERROR."""

    state: str
    text: str


@dataclass(frozen=True)
class Media:
    """One published item of the account's list."""

    id: str
    permalink: str | None
    posted_at: datetime | None


class InstagramCalls:
    """One method per endpoint; each raises the classes of instagram_outcomes."""

    def __init__(self, http: PlatformHttp, endpoints: Endpoints, clock: Clock) -> None:
        self._http = http
        self._root = endpoints.instagram_graph
        self.base = f"{endpoints.instagram_graph}/{endpoints.instagram_version}"
        self._clock = clock

    async def _call(
        self,
        method: str,
        path: str,
        token: SecretStr,
        *,
        form: Mapping[str, str] | None = None,
        can_publish: bool = False,
        gate: SendGate | None = None,
    ) -> dict[str, Any]:
        answer = await self._http.send(
            method,
            self.base + path,
            lane=LaneName.COMMIT if can_publish else LaneName.CALLS,
            headers=bearer(token),
            form=form,
            can_publish=can_publish,
            gate=gate,
        )
        got = answer.json
        if answer.status == 200 and got and "error" not in got:
            return got
        error = got.get("error")
        raise classify(
            answer.status,
            _number(dig(error, "code")),
            _number(dig(error, "error_subcode")),
            can_publish=can_publish,
            words=dig(error, "error_user_msg") or dig(error, "message"),
            request_id=dig(error, "fbtrace_id"),
            retry_after=answer.retry_after(self._clock.now()),
        )

    async def publishing_limit(self, token: SecretStr, user: str) -> tuple[int, int | None]:
        """Return how many posts the moving 24 hours have seen, and how many they may."""
        got = await self._call(
            "GET", f"/{user}/content_publishing_limit?fields=config,quota_usage", token
        )
        first = dig(got, "data", 0)
        return (
            whole_number(dig(first, "quota_usage")) or 0,
            whole_number(dig(first, "config", "quota_total")),
        )

    async def create(self, token: SecretStr, user: str, fields: Mapping[str, str]) -> str:
        """Make a container; return its id."""
        got = await self._call("POST", f"/{user}/media", token, form=fields)
        container = got.get("id")
        if not container:
            raise classify(200, None, words="the answer names no container")
        return str(container)

    async def container(self, token: SecretStr, container: str) -> Container:
        """Read a container's state; it never tells the media id."""
        got = await self._call("GET", f"/{container}?fields=status_code,status", token)
        return Container(str(got.get("status_code") or ""), str(got.get("status") or ""))

    async def publish(self, token: SecretStr, user: str, container: str, gate: SendGate) -> str:
        """Publish a container, the one call that makes it public; return the media's id."""
        got = await self._call(
            "POST",
            f"/{user}/media_publish",
            token,
            form={"creation_id": container},
            can_publish=True,
            gate=gate,
        )
        media = got.get("id")
        if not media:
            raise classify(200, None, can_publish=True, words="the answer names no media")
        return str(media)

    async def newest(self, token: SecretStr, user: str) -> list[Media]:
        """List the account's newest 50 media."""
        got = await self._call(
            "GET", f"/{user}/media?fields=id,permalink,timestamp&limit=50", token
        )
        return [_media(item) for item in got.get("data") or [] if dig(item, "id")]

    async def permalink(self, token: SecretStr, media: str) -> str | None:
        """Read a published media's link; classified as "does not exist" when it is gone."""
        got = await self._call("GET", f"/{media}?fields=id,permalink", token)
        link = got.get("permalink")
        return link if isinstance(link, str) else None

    async def insights(self, token: SecretStr, media: str) -> Mapping[str, int]:
        """Read a reel's lifetime counters; what is not there yet is absent, never 0."""
        got = await self._call(
            "GET", f"/{media}/insights?metric=views,reach,likes,comments,shares", token
        )
        counters = {}
        for item in got.get("data") or []:
            value = dig(item, "values", 0, "value")
            number = whole_number(dig(item, "total_value", "value") if value is None else value)
            if number is not None:
                counters[str(dig(item, "name"))] = number
        return counters

    async def me(self, token: SecretStr) -> dict[str, Any]:
        """Ask who the token speaks for: `user_id` is what paths need."""
        return await self._call("GET", "/me?fields=user_id,username,account_type", token)

    async def refresh(self, token: SecretStr) -> TokenSet:
        """Renew a long-lived token of at least 24 hours; there is no refresh token."""
        answer = await self._http.send(
            "GET",
            f"{self._root}/refresh_access_token?grant_type=ig_refresh_token"
            f"&access_token={token.get_secret_value()}",
        )
        got = answer.json
        if answer.status != 200 or not isinstance(got.get("access_token"), str):
            error = got.get("error")
            raise classify_refresh(
                answer.status,
                _number(dig(error, "code")),
                _number(dig(error, "error_subcode")),
                dig(error, "message"),
            )
        return read_tokens(got)


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _media(item: Mapping[str, Any]) -> Media:
    try:
        posted_at = datetime.fromisoformat(str(item.get("timestamp")))
    except ValueError:
        posted_at = None
    if posted_at is not None and posted_at.tzinfo is None:
        posted_at = None
    link = item.get("permalink")
    return Media(str(item["id"]), link if isinstance(link, str) else None, posted_at)
