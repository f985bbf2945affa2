"""TikTok by FILE_UPLOAD: every chunk but the last is sent ahead, the last one is the commit.

engine.md, "TikTok, FILE_UPLOAD", and platforms.md section 1 are the rules.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from pydantic import SecretStr

from minitik_dagster.clock import Clock
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import (
    HandleDeadError,
    PlatformError,
    RejectedError,
    RevokedError,
    TransientError,
    UnknownOutcomeError,
)
from minitik_dagster.platforms.answers import Answer, dig, whole_number
from minitik_dagster.platforms.chunks import ChunkPlan, plan_chunks
from minitik_dagster.platforms.endpoints import Endpoints
from minitik_dagster.platforms.http import PlatformHttp
from minitik_dagster.platforms.limits import TIKTOK_QUERY_BATCH
from minitik_dagster.platforms.options import TikTokOptions, read_options
from minitik_dagster.platforms.port import (
    Desk,
    Finding,
    Handle,
    Identity,
    MediaSource,
    Outlook,
    Post,
    PostMetrics,
    Receipt,
    Removal,
    SendGate,
    Standing,
    TokenSet,
)
from minitik_dagster.platforms.tiktok_calls import Status, TikTokCalls
from minitik_dagster.platforms.tiktok_outcomes import (
    POLICY_VERSION,
    classify_failure,
    classify_upload,
)
from minitik_dagster.platforms.tiktok_post import check_size, foreseen, post_info, switched_off
from minitik_dagster.platforms.tokens import require_refresh_token

UPLOAD_URL_LIFETIME = timedelta(hours=1)
# R2: past the URL's hour and this margin, an upload that reads unpublished can never be completed.
_DEAD_AFTER_EXPIRY = timedelta(minutes=5)
_PUBLIC = "PUBLIC_TO_EVERYONE"
_PROFILE_LINK = "https://www.tiktok.com/"
_USERNAME = re.compile(r"[\w.]{1,64}")


class TikTokClient:
    """The port, for TikTok. Progress of a handle: size, privacy, username, sent (chunks stored)."""

    platform = Platform.TIKTOK
    policy_version = POLICY_VERSION

    def __init__(self, http: PlatformHttp, endpoints: Endpoints, clock: Clock) -> None:
        self._http = http
        self._calls = TikTokCalls(http, endpoints, clock)

    async def foresee(self, post: Post, token: SecretStr) -> Outlook:
        """Ask creator_info: privacy levels, longest video, what the creator has switched off."""
        options = read_options(TikTokOptions, Platform.TIKTOK, post.options)
        creator = (await self._calls.creator_info(token)).values
        return Outlook(tuple(foreseen(post, options, creator)))

    async def prepare(
        self, post: Post, media: MediaSource, handle: Handle | None, desk: Desk
    ) -> Handle:
        """Open the post, send every chunk but the last, and hold that one on local disk."""
        check_size(media.size)
        plan = plan_chunks(media.size)
        if handle is None:
            handle = await self._open(post, plan, desk)
        else:
            handle = await self._take_up(handle, plan, desk)
        if _sent(handle) < plan.count - 1:
            async with desk.step("upload") as record:
                handle = await self._upload(media, handle, plan, desk)
                record.answered("206", chunks=_sent(handle), of=plan.count)
        await media.hold(*plan.span(plan.count - 1))
        if handle.ready:
            return handle
        return await desk.save_handle(_ready(handle))

    async def _take_up(self, handle: Handle, plan: ChunkPlan, desk: Desk) -> Handle:
        """Go on with a stored handle, from where TikTok says the upload stands."""
        if handle.expires_at is not None and desk.now() >= handle.expires_at:
            raise HandleDeadError("the TikTok upload URL has expired", code="upload_url_expired")
        if handle.progress.get("size") != plan.size:
            raise HandleDeadError("the file is not the one the upload was opened for", code="size")
        if _sent(handle) >= plan.count - 1:
            return handle
        # Asked first: a server that refuses a chunk early may cut before its 416 can be read.
        status = await self._calls.status(await desk.token(), _publish_id(handle))
        if status.state == "FAILED":
            raise classify_failure(status.fail_reason)
        stored = plan.chunks_stored(status.uploaded_bytes or 0)
        return handle if stored is None else handle.with_progress(sent=min(stored, plan.count - 1))

    async def _open(self, post: Post, plan: ChunkPlan, desk: Desk) -> Handle:
        options = read_options(TikTokOptions, Platform.TIKTOK, post.options)
        token = await desk.token()
        creator = (await self._calls.creator_info(token)).values
        info = post_info(post, options, creator)
        async with desk.step("init") as record:
            publish_id, upload_url, log_id = await self._calls.init(token, info, plan)
            off = (
                {"switched_off": ", ".join(switched_off(creator))} if switched_off(creator) else {}
            )
            record.answered("ok", log_id, chunks=plan.count, **off)
            return await desk.open_handle(
                external_id=publish_id,
                secret={"upload_url": SecretStr(upload_url)},
                progress={
                    "size": plan.size,
                    "privacy": info["privacy_level"],
                    "username": creator.get("creator_username"),
                    "sent": 0,
                },
                expires_at=desk.now() + UPLOAD_URL_LIFETIME,
            )

    async def _upload(
        self, media: MediaSource, handle: Handle, plan: ChunkPlan, desk: Desk
    ) -> Handle:
        sent, moved = _sent(handle), 0
        while sent < plan.count - 1:
            answer = await self._calls.put_chunk(
                handle.secret["upload_url"],
                plan,
                sent,
                media.mime_type,
                media.stream(*plan.span(sent)),
            )
            if answer.status == 206:
                sent += 1
            elif answer.status == 416 and moved < 2:
                # After a lost answer or a take-over: the platform says where it stands.
                moved += 1
                sent = await self._where(answer, handle, plan, desk)
            else:
                raise classify_upload(answer.status)
            handle = await desk.save_handle(handle.with_progress(sent=sent))
        return handle

    async def _where(self, answer: Answer, handle: Handle, plan: ChunkPlan, desk: Desk) -> int:
        reported = _reported(answer)
        if reported is None:
            status = await self._calls.status(await desk.token(), _publish_id(handle))
            reported = status.uploaded_bytes
        chunks = None if reported is None else plan.chunks_stored(reported)
        if chunks is None:
            raise HandleDeadError("the upload stands at no boundary of ours", code="upload_416")
        return chunks

    async def warm(self, post: Post, handle: Handle, desk: Desk) -> Handle:
        """See that a connection to the upload host stands open."""
        await self._http.keep_ready(handle.secret["upload_url"].get_secret_value())
        return handle

    async def commit(
        self, post: Post, media: MediaSource, handle: Handle, token: SecretStr, gate: SendGate
    ) -> Receipt:
        """Send the held chunk. A refusal of the URL is believed only after status/fetch was read."""
        plan = plan_chunks(int(handle.progress["size"]))
        last = plan.count - 1
        answer = await self._calls.put_chunk(
            handle.secret["upload_url"],
            plan,
            last,
            media.mime_type,
            media.stream(*plan.span(last)),
            gate=gate,
        )
        if answer.status == 201:
            return Receipt(code=str(answer.status))
        if answer.status in {403, 404, 416}:
            return await self._judge_refusal(answer.status, handle, token, plan)
        if answer.status == 206:
            raise UnknownOutcomeError("TikTok says that parts are missing", code="upload_206")
        raise classify_upload(answer.status, can_publish=True)

    async def _judge_refusal(
        self, http_status: int, handle: Handle, token: SecretStr, plan: ChunkPlan
    ) -> Receipt:
        """An earlier, lost commit on this handle may have done it: all bytes there = accepted."""
        code = f"upload_{http_status}"
        try:
            status = await self._calls.status(token, _publish_id(handle))
        except PlatformError:
            status = None
        if status is not None:
            if status.state == "PUBLISH_COMPLETE" or status.uploaded_bytes == plan.size:
                return Receipt(f"{code}_complete", status.log_id, status.post_ids)
            if status.state == "FAILED":
                raise classify_failure(status.fail_reason)
            if http_status != 416 and status.uploaded_bytes is not None:
                raise classify_upload(http_status, can_publish=True)
        raise UnknownOutcomeError("TikTok took no chunk and cannot say where it stands", code=code)

    async def confirm(self, post: Post, handle: Handle, desk: Desk) -> Finding:
        """Ask status/fetch; PUBLISH_COMPLETE is live, a public post's id may come later."""
        status = await self._calls.status(await desk.token(), _publish_id(handle))
        found = _settled(status, handle)
        if found is not None:
            return found
        return Finding(Standing.ACCEPTED, code=status.state, request_id=status.log_id, final=False)

    async def find(self, post: Post, handle: Handle, desk: Desk) -> Finding:
        """Judge a lost commit by status/fetch: all bytes = accepted, fewer = not published."""
        try:
            status = await self._calls.status(await desk.token(), _publish_id(handle))
        except (HandleDeadError, RejectedError) as error:
            # "invalid publish_id" proves nothing about a post: a person decides.
            return Finding(Standing.CANNOT_TELL, code=error.code, error=error)
        found = _settled(status, handle)
        if found is not None:
            return found
        if status.uploaded_bytes is None or not status.state.startswith("PROCESSING"):
            standing = Standing.CANNOT_TELL
        elif status.uploaded_bytes >= int(handle.progress["size"]):
            standing = Standing.ACCEPTED
        elif handle.expires_at is not None and desk.now() >= handle.expires_at + _DEAD_AFTER_EXPIRY:
            standing = Standing.DEAD
        else:
            standing = Standing.NOT_PUBLISHED
        return Finding(
            standing,
            code=f"{status.state}:{status.uploaded_bytes}",
            request_id=status.log_id,
            final=standing is not Standing.ACCEPTED,
        )

    async def look(self, post: Post, post_id: str, desk: Desk) -> Finding:
        """Ask video/query, which leaves out what is not public; needs the scope video.list."""
        try:
            got = await self._calls.api(
                "/v2/video/query/?fields=id,share_url",
                await desk.token(),
                {"filters": {"video_ids": [post_id]}},
            )
        except (RejectedError, RevokedError) as error:
            # The scope is optional; an account without it publishes all the same.
            return Finding(Standing.CANNOT_TELL, code=error.code, error=error)
        for video in dig(got.values, "videos") or []:
            if str(video.get("id")) == post_id:
                return Finding(Standing.LIVE, (post_id,), code="listed", request_id=got.log_id)
        return Finding(Standing.REMOVED, code="not_listed", request_id=got.log_id)

    async def delete(self, post: Post, handle: Handle, post_id: str | None, desk: Desk) -> Removal:
        """TikTok has no delete endpoint: say where a person can do it."""
        if post_id is None:
            return Removal(done=True, instruction="nothing is public; the upload ends by itself")
        link = _link(handle, post_id) or _PROFILE_LINK
        return Removal(
            done=False,
            instruction=f"TikTok lets no program delete a post: open {link} in the app and delete it",
        )

    async def metrics(self, post_ids: Sequence[str], token: SecretStr) -> list[PostMetrics]:
        """Read counters, 20 posts a call; posts that TikTok leaves out are left out."""
        found = []
        for start in range(0, len(post_ids), TIKTOK_QUERY_BATCH):
            batch = list(post_ids[start : start + TIKTOK_QUERY_BATCH])
            got = await self._calls.api(
                "/v2/video/query/?fields=id,view_count,like_count,comment_count,share_count",
                token,
                {"filters": {"video_ids": batch}},
            )
            found += [
                PostMetrics(
                    post_id=str(video.get("id")),
                    views=whole_number(video.get("view_count")),
                    likes=whole_number(video.get("like_count")),
                    comments=whole_number(video.get("comment_count")),
                    shares=whole_number(video.get("share_count")),
                )
                for video in dig(got.values, "videos") or []
            ]
        return found

    async def privacy_options(self, token: SecretStr) -> tuple[str, ...]:
        """Ask creator_info which privacy levels the creator may choose now."""
        got = await self._calls.creator_info(token)
        options = got.values.get("privacy_level_options")
        return tuple(str(one) for one in options) if isinstance(options, list) else ()

    async def identify(self, token: SecretStr) -> Identity:
        """Ask /v2/user/info/ for the open_id."""
        got = await self._calls.api(
            "/v2/user/info/?fields=open_id,display_name", token, method="GET"
        )
        open_id = dig(got.values, "user", "open_id")
        if not isinstance(open_id, str):
            raise TransientError("TikTok named no open_id", request_id=got.log_id)
        return Identity(open_id, dig(got.values, "user", "display_name"))

    async def refresh(self, access_token: SecretStr, refresh_token: SecretStr | None) -> TokenSet:
        """Rotate the tokens; the old refresh token is worthless afterwards."""
        return await self._calls.refresh(require_refresh_token(refresh_token, Platform.TIKTOK))

    async def revoke(self, access_token: SecretStr, refresh_token: SecretStr | None) -> Removal:
        """Withdraw the grant by its access token, the only kind that TikTok documents."""
        await self._calls.revoke(access_token)
        return Removal(done=True)


def _settled(status: Status, handle: Handle) -> Finding | None:
    """Return the finding of a status that leaves no doubt, else None."""
    if status.state == "PUBLISH_COMPLETE":
        public = handle.progress.get("privacy", _PUBLIC) == _PUBLIC
        return Finding(
            Standing.LIVE,
            post_ids=status.post_ids,
            permalink=_link(handle, status.post_ids[0]) if status.post_ids else None,
            code=status.state,
            request_id=status.log_id,
            # Only public posts ever get an id, after moderation.
            final=bool(status.post_ids) or not public,
        )
    if status.state == "FAILED":
        error = classify_failure(status.fail_reason)
        dead = isinstance(error, HandleDeadError)
        return Finding(
            Standing.DEAD if dead else Standing.REJECTED,
            code=error.code,
            request_id=status.log_id,
            error=error,
        )
    return None


def _ready(handle: Handle) -> Handle:
    return replace(handle, ready=True)


def _sent(handle: Handle) -> int:
    return int(handle.progress.get("sent") or 0)


def _publish_id(handle: Handle) -> str:
    if handle.external_id is None:
        raise HandleDeadError("the handle has no publish_id", code="no_publish_id")
    return handle.external_id


def _reported(answer: Answer) -> int | None:
    found = re.fullmatch(r"bytes \d+-(\d{1,15})/\d+", answer.headers.get("content-range", ""))
    return int(found[1]) if found else None


def _link(handle: Handle, post_id: str) -> str | None:
    name = handle.progress.get("username")
    if not isinstance(name, str) or not _USERNAME.fullmatch(name):
        return None
    return f"https://www.tiktok.com/@{name}/video/{post_id}"
