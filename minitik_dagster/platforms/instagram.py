"""Instagram with Instagram Login: a container that Instagram fetches itself, then media_publish.

engine.md, "Instagram", and platforms.md section 2 are the rules. There is no byte upload and no
deletion here.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import SecretStr

from minitik_dagster.clock import Clock, iso_z
from minitik_dagster.db.types import Platform
from minitik_dagster.errors import (
    HandleDeadError,
    PlatformError,
    RejectedError,
    RevokedError,
    ThrottledError,
    TransientError,
)
from minitik_dagster.outbound import Outbound
from minitik_dagster.platforms.endpoints import Endpoints
from minitik_dagster.platforms.http import PlatformHttp
from minitik_dagster.platforms.instagram_calls import Container, InstagramCalls, Media
from minitik_dagster.platforms.instagram_outcomes import POLICY_VERSION, classify_container
from minitik_dagster.platforms.limits import INSTAGRAM_CAPTION_CHARACTERS, MEDIA_LIMITS
from minitik_dagster.platforms.options import InstagramOptions, read_options
from minitik_dagster.platforms.pictures import INSTAGRAM_COVER, fetch_picture
from minitik_dagster.platforms.port import (
    Desk,
    Finding,
    Handle,
    Identity,
    MediaSource,
    Outlook,
    Post,
    PostMetrics,
    Quota,
    Receipt,
    Removal,
    SendGate,
    Standing,
    TokenSet,
)

CONTAINER_LIFETIME = timedelta(hours=24)
# Waits between polls of a container; the last one repeats.
POLL_SECONDS = (2, 5, 10, 30, 60)
LIMIT_WINDOW = timedelta(hours=24)
_LIMIT_RECHECK = timedelta(minutes=10)
# How far Instagram's clock may be behind ours when a media's timestamp is compared.
_TIMESTAMP_SLACK = timedelta(minutes=2)
_HOME = "https://www.instagram.com/"


class InstagramClient:
    """The port, for Instagram. Progress of a handle: before (media ids), before_at, post_ids."""

    platform = Platform.INSTAGRAM
    policy_version = POLICY_VERSION

    def __init__(
        self, http: PlatformHttp, endpoints: Endpoints, clock: Clock, outbound: Outbound
    ) -> None:
        self._http = http
        self._outbound = outbound
        self._calls = InstagramCalls(http, endpoints, clock)

    async def foresee(self, post: Post, token: SecretStr) -> Outlook:
        """Ask content_publishing_limit: how many posts the account may still publish today."""
        used, allowed = await self._calls.publishing_limit(token, post.platform_account_id)
        if allowed is None:
            return Outlook()
        return Outlook(quota=Quota(used, allowed, LIMIT_WINDOW))

    async def prepare(
        self, post: Post, media: MediaSource, handle: Handle | None, desk: Desk
    ) -> Handle:
        """Create the container and poll it until FINISHED."""
        if handle is None:
            handle = await self._create(post, media, desk)
        if handle.ready:
            if desk.now() > post.due_at:
                # Late for some reason, the full day (9/2207042) among them: asked before it is tried.
                await self._require_room(post, await desk.token())
            return handle
        async with desk.step("processing") as record:
            await self._until_finished(handle, desk)
            record.answered("FINISHED")
        return await desk.save_handle(replace(handle, ready=True))

    async def _create(self, post: Post, media: MediaSource, desk: Desk) -> Handle:
        options = read_options(InstagramOptions, Platform.INSTAGRAM, post.options)
        _check(post, media)
        token = await desk.token()
        await self._require_room(post, token)
        fields = {
            "media_type": "REELS",
            "caption": post.caption,
            "share_to_feed": "true" if options.share_to_feed else "false",
        }
        if options.cover_url is not None:
            # Instagram fetches it as well: what it would refuse costs no container.
            await fetch_picture(self._outbound, options.cover_url, INSTAGRAM_COVER)
            fields["cover_url"] = options.cover_url
        if options.thumb_offset_ms is not None:
            fields["thumb_offset"] = str(options.thumb_offset_ms)
        if options.is_ai_generated:
            fields["is_ai_generated"] = "true"
        async with desk.step("container") as record:
            # Signed at the last moment and never stored: whoever has it can read the video.
            fields["video_url"] = media.fetch_url(CONTAINER_LIFETIME)
            container = await self._calls.create(token, post.platform_account_id, fields)
            record.answered("created")
            return await desk.open_handle(
                external_id=container, expires_at=desk.now() + CONTAINER_LIFETIME
            )

    async def _require_room(self, post: Post, token: SecretStr) -> None:
        """Raise ThrottledError, to be asked again in ten minutes, while the account's day is full."""
        used, allowed = await self._calls.publishing_limit(token, post.platform_account_id)
        if allowed is not None and used >= allowed:
            error = ThrottledError(
                f"the account has published {used} of {allowed} posts in 24 hours",
                code="9/2207042",
                fix="wait until posts of the last 24 hours have aged",
            )
            error.retry_after = _LIMIT_RECHECK
            raise error

    async def _until_finished(self, handle: Handle, desk: Desk) -> None:
        polls = 0
        while True:
            if handle.expires_at is not None and desk.now() >= handle.expires_at:
                raise HandleDeadError("the Instagram container has expired", code="EXPIRED")
            await desk.sleep(timedelta(seconds=POLL_SECONDS[min(polls, len(POLL_SECONDS) - 1)]))
            polls += 1
            container = await self._calls.container(await desk.token(), _container_id(handle))
            if container.state in {"FINISHED", "PUBLISHED"}:
                return
            if container.state != "IN_PROGRESS":
                raise _failure(container)

    async def warm(self, post: Post, handle: Handle, desk: Desk) -> Handle:
        """Read the container once more and store which media the account has before the commit.

        Raises HandleDeadError or RejectedError where the container can no longer be published.
        """
        token = await desk.token()
        await self._http.keep_ready(self._calls.base)
        container = await self._calls.container(token, _container_id(handle))
        if container.state in {"ERROR", "EXPIRED"}:
            raise _failure(container)
        if "before" in handle.progress:
            # A list read after a commit that may have happened would hide its own post.
            return handle
        before = await self._calls.newest(token, post.platform_account_id)
        return await desk.save_handle(
            handle.with_progress(before=[one.id for one in before], before_at=iso_z(desk.now()))
        )

    async def commit(
        self, post: Post, media: MediaSource, handle: Handle, token: SecretStr, gate: SendGate
    ) -> Receipt:
        """Send media_publish with the container's id."""
        published = await self._calls.publish(
            token, post.platform_account_id, _container_id(handle), gate
        )
        return Receipt(code="published", post_ids=(published,))

    async def confirm(self, post: Post, handle: Handle, desk: Desk) -> Finding:
        """Ask the container; PUBLISHED proves the post live, the list gives its link."""
        container = await self._calls.container(await desk.token(), _container_id(handle))
        if container.state == "PUBLISHED":
            return await self._live(post, handle, desk)
        if container.state in {"ERROR", "EXPIRED"}:
            return _terminal(container)
        # FINISHED right after media_publish is a stale read.
        return Finding(Standing.ACCEPTED, code=container.state, final=False)

    async def find(self, post: Post, handle: Handle, desk: Desk) -> Finding:
        """Judge a lost media_publish by the container's state."""
        try:
            container = await self._calls.container(await desk.token(), _container_id(handle))
        except (HandleDeadError, RejectedError) as error:
            # "does not exist" proves nothing about a post: a person decides.
            return Finding(Standing.CANNOT_TELL, code=error.code, error=error)
        if container.state == "PUBLISHED":
            return await self._live(post, handle, desk)
        if container.state == "FINISHED":
            return Finding(Standing.NOT_PUBLISHED, code=container.state)
        if container.state in {"ERROR", "EXPIRED"}:
            return _terminal(container)
        return Finding(Standing.CANNOT_TELL, code=container.state)

    async def _live(self, post: Post, handle: Handle, desk: Desk) -> Finding:
        """Bind an id only where the list leaves one candidate; an outage costs the id, not the fact."""
        known = [str(one) for one in handle.progress.get("post_ids") or ()]
        before, since = handle.progress.get("before"), _before_at(handle)
        if not known and (before is None or since is None):
            return Finding(Standing.LIVE, code="PUBLISHED")
        try:
            now = await self._calls.newest(await desk.token(), post.platform_account_id)
        except PlatformError as error:
            return Finding(
                Standing.LIVE, post_ids=tuple(known), code="PUBLISHED", error=error, final=False
            )
        if known:
            links = [one.permalink for one in now if one.id == known[0]]
            return Finding(
                Standing.LIVE,
                post_ids=tuple(known),
                permalink=links[0] if links else None,
                code="PUBLISHED",
            )
        new = _new_media(now, before or (), since)
        if len(new) == 1:
            return Finding(
                Standing.LIVE, post_ids=(new[0].id,), permalink=new[0].permalink, code="PUBLISHED"
            )
        # None yet: the list may lag. Several: never a guess.
        return Finding(Standing.LIVE, code=f"PUBLISHED:{len(new)}_candidates", final=len(new) > 1)

    async def look(self, post: Post, post_id: str, desk: Desk) -> Finding:
        """Ask for the media by its id.

        100/33 stands for "does not exist" and for "no permission" alike: only beside a list that
        answers, and has no such media either, is it a removal.
        """
        try:
            link = await self._calls.permalink(await desk.token(), post_id)
        except HandleDeadError as error:
            listed = await self._calls.newest(await desk.token(), post.platform_account_id)
            gone = post_id not in {one.id for one in listed}
            return Finding(
                Standing.REMOVED if gone else Standing.LIVE,
                () if gone else (post_id,),
                code=error.code,
                request_id=error.request_id,
            )
        return Finding(Standing.LIVE, (post_id,), permalink=link, code="found")

    async def delete(self, post: Post, handle: Handle, post_id: str | None, desk: Desk) -> Removal:
        """With Instagram Login nothing can be deleted: say where a person can do it."""
        if post_id is None:
            return Removal(done=True, instruction="nothing is public; the container ends by itself")
        link = _HOME
        try:
            newest = await self._calls.newest(await desk.token(), post.platform_account_id)
        except PlatformError:
            newest = []
        for one in newest:
            if one.id == post_id and one.permalink:
                link = one.permalink
        return Removal(
            done=False,
            instruction=f"Instagram lets no program delete a reel: open {link} and delete it there",
        )

    async def metrics(self, post_ids: Sequence[str], token: SecretStr) -> list[PostMetrics]:
        """Read each reel's insights; reels that are gone or too new are left out."""
        found = []
        for post_id in post_ids:
            try:
                counters = await self._calls.insights(token, post_id)
            except (HandleDeadError, RejectedError):
                continue
            except RevokedError as error:
                # (#10) "Not enough viewers" shares its code with a missing permission.
                if "viewers" not in error.reason:
                    raise
                continue
            found.append(PostMetrics(post_id=post_id, **counters))
        return found

    async def identify(self, token: SecretStr) -> Identity:
        """Ask /me: `user_id` is the id that publishing needs, `id` is the app's own."""
        got = await self._calls.me(token)
        if not got.get("user_id"):
            raise TransientError("Instagram named no user_id", code="me")
        details = {"account_type": got["account_type"]} if got.get("account_type") else {}
        name = got.get("username")
        return Identity(str(got["user_id"]), str(name) if name else None, details)

    async def refresh(self, access_token: SecretStr, refresh_token: SecretStr | None) -> TokenSet:
        """Renew the long-lived token with itself."""
        return await self._calls.refresh(access_token)

    async def revoke(self, access_token: SecretStr, refresh_token: SecretStr | None) -> Removal:
        """Say what the creator does: Instagram Login documents no call that withdraws access."""
        return Removal(
            done=False,
            instruction=(
                "Instagram lets no program withdraw its access: the creator removes the app in "
                "Instagram under Settings, Website permissions, Apps and websites"
            ),
        )


def _check(post: Post, media: MediaSource) -> None:
    most = MEDIA_LIMITS[Platform.INSTAGRAM].max_bytes
    if not 0 < media.size <= most:
        raise RejectedError(
            f"the file has {media.size:,} bytes; Instagram takes 1 to {most:,} (300 MB)",
            code="file_size",
            fix="upload a smaller file" if media.size else "upload a file that is not empty",
        )
    if len(post.caption) > INSTAGRAM_CAPTION_CHARACTERS:
        raise RejectedError(
            f"the caption has {len(post.caption)} characters; "
            f"Instagram takes {INSTAGRAM_CAPTION_CHARACTERS}",
            code="36004/2207010",
            fix="shorten the caption",
        )


def _container_id(handle: Handle) -> str:
    if handle.external_id is None:
        raise HandleDeadError("the handle has no container", code="no_container")
    return handle.external_id


def _failure(container: Container) -> PlatformError:
    if container.state == "ERROR":
        return classify_container(container.text)
    if container.state == "EXPIRED":
        return HandleDeadError("the Instagram container has expired", code="EXPIRED")
    return TransientError("Instagram's answer was not understood", code=container.state)


def _terminal(container: Container) -> Finding:
    error = _failure(container)
    standing = Standing.REJECTED if isinstance(error, RejectedError) else Standing.DEAD
    return Finding(standing, code=error.code, error=error)


def _before_at(handle: Handle) -> datetime | None:
    text = handle.progress.get("before_at")
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def _new_media(now: Sequence[Media], before: Sequence[str], since: datetime | None) -> list[Media]:
    """Return what the list has gained since it was stored, inside the window."""
    return [
        one
        for one in now
        if one.id not in before
        and (one.posted_at is None or since is None or one.posted_at >= since - _TIMESTAMP_SLACK)
    ]
