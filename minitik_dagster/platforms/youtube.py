"""YouTube: a resumable upload as private, made public by videos.update at the instant.

engine.md, "YouTube", and platforms.md section 3 are the rules. publishAt is never used here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from pydantic import SecretStr

from minitik_dagster.clock import Clock
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import (
    HandleDeadError,
    PlatformError,
    RejectedError,
    ThrottledError,
    TransientError,
)
from minitik_dagster.outbound import Outbound
from minitik_dagster.platforms.answers import dig, whole_number
from minitik_dagster.platforms.endpoints import Endpoints
from minitik_dagster.platforms.http import PlatformHttp
from minitik_dagster.platforms.limits import MEDIA_LIMITS, YOUTUBE_LIST_BATCH
from minitik_dagster.platforms.options import YouTubeOptions, read_options
from minitik_dagster.platforms.pictures import (
    YOUTUBE_THUMBNAIL,
    Picture,
    fetch_picture,
    picture_kind,
)
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
from minitik_dagster.platforms.tokens import require_refresh_token
from minitik_dagster.platforms.youtube_calls import SessionState, YouTubeCalls
from minitik_dagster.platforms.youtube_outcomes import POLICY_VERSION, classify_processing
from minitik_dagster.platforms.youtube_resource import snippet, status_part

# Waits for processing before a thumbnail is set (Shorts take one only afterwards).
_PROCESSING_SECONDS = (2, 5, 10, 30, 60, 60, 60, 60, 60)
# A thumbnail that could not be set is tried again after these pauses.
_THUMBNAIL_PAUSES = (timedelta(seconds=2), timedelta(seconds=5), timedelta(seconds=10))
# What a decoration leaves untouched before the instant: the post is warmed then.
_BEFORE_DUE = timedelta(seconds=15)

# One PUT carries the file; 308 asks for the rest, a few times.
_PUTS = 4


class YouTubeClient:
    """The port, for YouTube. Progress of a handle: size, thumbnail (set or not)."""

    platform = Platform.YOUTUBE
    policy_version = POLICY_VERSION

    def __init__(
        self, http: PlatformHttp, endpoints: Endpoints, clock: Clock, outbound: Outbound
    ) -> None:
        self._http = http
        self._outbound = outbound
        self._calls = YouTubeCalls(http, endpoints, clock)

    async def foresee(self, post: Post, token: SecretStr) -> Outlook:
        """Nothing is asked: no endpoint of YouTube's tells what is left of a quota."""
        return Outlook()

    async def prepare(
        self, post: Post, media: MediaSource, handle: Handle | None, desk: Desk
    ) -> Handle:
        """Upload the video as private and set its thumbnail, if one is given."""
        options = read_options(YouTubeOptions, Platform.YOUTUBE, post.options)
        fresh = handle is None
        if handle is None:
            handle = await self._open(post, media, options, desk)
        if handle.external_id is None:
            async with desk.step("upload") as record:
                handle = await self._upload(post, media, handle, desk, resume=not fresh)
                record.answered("uploaded", video=handle.external_id)
        wanted = options.thumbnail is not None or options.thumbnail_url is not None
        if wanted and not handle.progress.get("thumbnail"):
            handle = await self._thumbnail(post, options, handle, desk)
        if handle.ready:
            return handle
        return await desk.save_handle(replace(handle, ready=True))

    async def _open(
        self, post: Post, media: MediaSource, options: YouTubeOptions, desk: Desk
    ) -> Handle:
        _check_size(media.size)
        # Always private, never publishAt: an orphaned upload would publish itself.
        body = {"snippet": snippet(post, options), "status": status_part(options, "private")}
        async with desk.step("session") as record:
            session = await self._calls.start_session(
                await desk.token(),
                body,
                media.size,
                media.mime_type,
                notify=options.notify_subscribers,
            )
            record.answered("200")
            return await desk.open_handle(
                secret={"session_uri": SecretStr(session)}, progress={"size": media.size}
            )

    async def _upload(
        self, post: Post, media: MediaSource, handle: Handle, desk: Desk, *, resume: bool
    ) -> Handle:
        session = handle.secret["session_uri"]
        if handle.progress.get("size") != media.size:
            raise HandleDeadError("the file is not the one the session was opened for", code="size")
        state = SessionState(None, 0)
        try:
            if resume:
                state = await self._calls.session_state(session, await desk.token(), media.size)
            for _ in range(_PUTS):
                if state.video_id is not None:
                    break
                # 308 names the next byte: never assumed, a cut connection's bytes may count late.
                state = await self._calls.send_bytes(
                    session,
                    await desk.token(),
                    start=state.stored,
                    size=media.size,
                    mime_type=media.mime_type,
                    body=media.stream(state.stored, media.size - state.stored),
                )
        except HandleDeadError:
            # The session is gone. Before another is opened: has it finished unseen?
            found = await self._calls.uploads_with_tag(await desk.token(), post.marker)
            if found is None:
                raise
            state = SessionState(found, 0)
        if state.video_id is None:
            raise TransientError(
                f"YouTube has stored {state.stored:,} of {media.size:,} bytes", code="upload_308"
            )
        return await desk.save_handle(replace(handle, external_id=state.video_id))

    async def _thumbnail(
        self, post: Post, options: YouTubeOptions, handle: Handle, desk: Desk
    ) -> Handle:
        """Set the thumbnail, a decoration: where YouTube or its server refuses it, the post goes on.

        The step says why. What may pass is tried again while the instant leaves time for it.
        """
        video = _video_id(handle)
        await self._until_processed(video, post, desk)
        for pause in (*_THUMBNAIL_PAUSES, None):
            try:
                async with desk.step("thumbnail") as record:
                    picture = await self._picture(options)
                    await self._calls.set_thumbnail(
                        await desk.token(), video, picture.body, picture.kind
                    )
                    record.answered("200")
            except TransientError:
                if pause is None or desk.now() + pause + _BEFORE_DUE > post.due_at:
                    return await desk.save_handle(handle.with_progress(thumbnail="failed"))
                await desk.sleep(pause)
            except (RejectedError, ThrottledError):
                return await desk.save_handle(handle.with_progress(thumbnail="refused"))
            else:
                break
        return await desk.save_handle(handle.with_progress(thumbnail=True))

    async def _until_processed(self, video: str, post: Post, desk: Desk) -> None:
        for seconds in _PROCESSING_SECONDS:
            found = await self._calls.video(await desk.token(), video)
            if dig(found, "processingDetails", "processingStatus") != "processing":
                return
            pause = timedelta(seconds=seconds)
            if seconds > _PROCESSING_SECONDS[2] and desk.now() + pause + _BEFORE_DUE > post.due_at:
                # The instant comes first: a long video takes its thumbnail while it is processed.
                return
            await desk.sleep(pause)

    async def _picture(self, options: YouTubeOptions) -> Picture:
        if options.thumbnail is not None:
            return Picture(picture_kind(options.thumbnail) or "image/jpeg", options.thumbnail)
        assert options.thumbnail_url is not None
        return await fetch_picture(self._outbound, options.thumbnail_url, YOUTUBE_THUMBNAIL)

    async def warm(self, post: Post, handle: Handle, desk: Desk) -> Handle:
        """Open a connection and see that YouTube has not failed or rejected the video.

        Raises RejectedError or HandleDeadError where it has.
        """
        await self._http.keep_ready(self._calls.base)
        found = await self._calls.video(await desk.token(), _video_id(handle))
        problem = _processing_problem(found)
        if problem is not None:
            raise problem
        return handle

    async def commit(
        self, post: Post, media: MediaSource, handle: Handle, token: SecretStr, gate: SendGate
    ) -> Receipt:
        """Send videos.update with the whole status part: what is omitted would be cleared."""
        options = read_options(YouTubeOptions, Platform.YOUTUBE, post.options)
        video = _video_id(handle)
        await self._calls.api(
            "PUT",
            "/youtube/v3/videos?part=status",
            token,
            {"id": video, "status": status_part(options, options.privacy)},
            can_publish=True,
            gate=gate,
        )
        return Receipt(code="200", post_ids=(video,), permalink=_link(video))

    async def confirm(self, post: Post, handle: Handle, desk: Desk) -> Finding:
        """Ask videos.list for the privacyStatus."""
        return await self._look(post, handle, desk, otherwise=Standing.ACCEPTED)

    async def find(self, post: Post, handle: Handle, desk: Desk) -> Finding:
        """Judge a lost videos.update by the privacyStatus.

        A video that is not on the list reads NOT_PUBLISHED: repeating the update on the same id is
        harmless, and its 404 is the proof that the video is gone.
        """
        return await self._look(post, handle, desk, otherwise=Standing.NOT_PUBLISHED)

    async def _look(
        self, post: Post, handle: Handle, desk: Desk, *, otherwise: Standing
    ) -> Finding:
        options = read_options(YouTubeOptions, Platform.YOUTUBE, post.options)
        video = _video_id(handle)
        found = await self._calls.video(await desk.token(), video)
        problem = _processing_problem(found)
        if problem is not None:
            dead = isinstance(problem, HandleDeadError)
            return Finding(
                Standing.DEAD if dead else Standing.REJECTED, code=problem.code, error=problem
            )
        privacy = str(dig(found, "status", "privacyStatus") or "missing")
        if privacy in {options.privacy, "public"}:
            return Finding(Standing.LIVE, post_ids=(video,), permalink=_link(video), code=privacy)
        return Finding(otherwise, code=privacy, final=otherwise is not Standing.ACCEPTED)

    async def look(self, post: Post, post_id: str, desk: Desk) -> Finding:
        """Ask videos.list: missing, deleted, rejected or made private is a removal."""
        found = await self._calls.video(await desk.token(), post_id)
        state = str(dig(found, "status", "uploadStatus") or "")
        privacy = str(dig(found, "status", "privacyStatus") or "missing")
        if found is None or state in {"deleted", "failed", "rejected"}:
            return Finding(Standing.REMOVED, code=state or "missing")
        if privacy == "private":
            return Finding(Standing.REMOVED, code=privacy)
        return Finding(Standing.LIVE, (post_id,), permalink=_link(post_id), code=privacy)

    async def delete(self, post: Post, handle: Handle, post_id: str | None, desk: Desk) -> Removal:
        """Delete the video, public or still private; one that is gone already is done.

        TransientError while an upload that was begun has not ended: its process may still send bytes.
        """
        video = post_id or handle.external_id or await self._uploaded(handle, desk)
        if video is None:
            return Removal(done=True, instruction="nothing was uploaded")
        async with desk.step("delete") as record:
            try:
                await self._calls.api(
                    "DELETE", f"/youtube/v3/videos?id={video}", await desk.token()
                )
            except HandleDeadError as error:
                record.answered(error.code)
            else:
                record.answered("204")
        return Removal(done=True)

    async def _uploaded(self, handle: Handle, desk: Desk) -> str | None:
        """Ask a session whose end nobody has recorded for its video; None when the session is gone.

        Never by the post's tag: a later upload of the same post carries it too.
        """
        session = handle.secret.get("session_uri")
        size = handle.progress.get("size")
        if session is None or not isinstance(size, int):
            return None
        try:
            state = await self._calls.session_state(session, await desk.token(), size)
        except HandleDeadError:
            return None
        if state.video_id is None:
            raise TransientError("the upload has not ended; its session may go on", code="open")
        return state.video_id

    async def metrics(self, post_ids: Sequence[str], token: SecretStr) -> list[PostMetrics]:
        """Read counters, 50 videos a call; hidden ones are None, missing videos left out."""
        found = []
        for start in range(0, len(post_ids), YOUTUBE_LIST_BATCH):
            batch = post_ids[start : start + YOUTUBE_LIST_BATCH]
            found += [
                _metrics(video, counters)
                for video, counters in await self._calls.statistics(token, batch)
            ]
        return found

    async def daily_reports(
        self, first: date, last: date, token: SecretStr
    ) -> dict[date, dict[str, float]]:
        """Read the channel's true history by Pacific day, from the Analytics API."""
        return await self._calls.daily_reports(token, first, last)

    async def identify(self, token: SecretStr) -> Identity:
        """Ask for the token's own channel."""
        got = await self._calls.api("GET", "/youtube/v3/channels?part=id,snippet&mine=true", token)
        channel = dig(got, "items", 0)
        if not dig(channel, "id"):
            raise RejectedError(
                "the Google account has no YouTube channel",
                code="youtubeSignupRequired",
                fix="create a channel first",
            )
        name = dig(channel, "snippet", "title")
        return Identity(str(channel["id"]), name if isinstance(name, str) else None)

    async def refresh(self, access_token: SecretStr, refresh_token: SecretStr | None) -> TokenSet:
        """Get a new access token; the refresh token stays."""
        return await self._calls.refresh(require_refresh_token(refresh_token, Platform.YOUTUBE))

    async def revoke(self, access_token: SecretStr, refresh_token: SecretStr | None) -> Removal:
        """Withdraw the grant by either token; the refresh token is the one that lives longer."""
        await self._calls.revoke(refresh_token or access_token)
        return Removal(done=True)


def _check_size(size: int) -> None:
    most = MEDIA_LIMITS[Platform.YOUTUBE].max_bytes
    if not 0 < size <= most:
        raise RejectedError(
            f"the file has {size:,} bytes; YouTube takes 1 to {most:,}",
            code="file_size",
            fix="upload a smaller file" if size else "upload a file that is not empty",
        )


def _video_id(handle: Handle) -> str:
    if handle.external_id is None:
        raise HandleDeadError("the handle has no video", code="no_video")
    return handle.external_id


def _processing_problem(video: Mapping[str, Any] | None) -> PlatformError | None:
    state = dig(video, "status", "uploadStatus")
    if state == "deleted":
        return HandleDeadError("the video was deleted", code="deleted")
    if state in {"failed", "rejected"}:
        key = "failureReason" if state == "failed" else "rejectionReason"
        return classify_processing(state, str(dig(video, "status", key) or ""))
    return None


def _metrics(video: str, counters: Mapping[str, Any]) -> PostMetrics:
    return PostMetrics(
        post_id=video,
        views=whole_number(counters.get("viewCount")),
        likes=whole_number(counters.get("likeCount")),
        comments=whole_number(counters.get("commentCount")),
    )


def _link(video: str) -> str:
    return f"https://www.youtube.com/watch?v={video}"
