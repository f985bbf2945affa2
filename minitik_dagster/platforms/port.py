"""The port between the publish engine and the platforms.

A platform client knows one platform's HTTP and nothing of PostgreSQL, leases or schedules. The
engine hands it a `Desk` for what it may need (tokens, the ledger) and decides when each phase runs:

    foresee   read-only: would a post that is still to be scheduled be taken now?
    prepare   everything but the last step; no public effect; may resume from a stored handle
    warm      seconds before the instant: open connections, read what `find` will compare with
    commit    the one call that makes the post public; the engine has opened its ledger row
    confirm   read-only: has what was accepted gone live?
    find      read-only: did a commit whose answer was lost happen? (engine.md R1-R3)
    look      read-only: is a post that went live still there?
    delete    take a public post or a prepared handle away, where the platform's API can

Every method raises the classes of `minitik_dagster.errors.PlatformError` and no other network error.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, Self

from pydantic import SecretStr

from minitik_dagster.db.types import Platform
from minitik_dagster.errors import PlatformError


@dataclass(frozen=True)
class Post:
    """What is to be published where: one publication, read anew at each claim.

    `options` are this platform's own (contracts.md, HTTP `options`), already merged and checked.
    `marker` is a text unique to the publication that can be looked for on the platform. `duration` is
    the video's, as probed; None where it is not known.
    """

    publication_id: str
    account_id: str
    platform_account_id: str
    title: str
    caption: str
    options: Mapping[str, Any]
    due_at: datetime
    revision: int
    marker: str
    duration: timedelta | None = None


class MediaSource(Protocol):
    """The publication's video. Streams; at most one piece of 256 KiB is in memory at a time."""

    @property
    def size(self) -> int:
        """Bytes in the file."""
        ...

    @property
    def mime_type(self) -> str:
        """video/mp4, video/quicktime or video/webm."""
        ...

    def stream(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from offset `start`, from the local spool where they are held.

        Raises TransientError when the object store does not answer.
        """
        ...

    async def hold(self, start: int, length: int) -> None:
        """Copy a range to the local spool so that the commit needs no object store; idempotent."""
        ...

    def fetch_url(self, lifetime: timedelta) -> str:
        """Presign a URL from which a platform fetches the file; a credential: never stored."""
        ...


@dataclass(frozen=True)
class Handle:
    """What a platform gave before anything is public (engine.md, Words); one is active at a time.

    `external_id` is TikTok's publish_id, Instagram's container id or YouTube's video id (None until
    known). `secret` holds credentials (upload_url, session_uri): sealed at rest, never logged.
    `progress` holds plain facts the client needs to resume. `ready` says that only the commit is left.
    """

    id: str
    revision: int
    external_id: str | None = None
    secret: Mapping[str, SecretStr] = field(default_factory=dict)
    progress: Mapping[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None
    ready: bool = False

    def with_progress(self, **facts: Any) -> Self:
        """Return the handle with these facts of progress added."""
        return replace(self, progress={**self.progress, **facts})


class StepRecord(Protocol):
    """An open ledger row; what is set here is written when the step ends."""

    def answered(self, code: str, request_id: str | None = None, **detail: Any) -> None:
        """Note the platform's own code, its request id, and facts without secrets."""
        ...


class Desk(Protocol):
    """What the engine lends a client for one publication. Every write goes through the lease fence.

    A lost lease raises LeaseLostError from any of these: let it pass.
    """

    async def token(self) -> SecretStr:
        """Return the account's present access token, read anew (engine.md R8)."""
        ...

    def step(self, name: str) -> AbstractAsyncContextManager[StepRecord]:
        """Write a step that cannot publish before it is taken, and its outcome after.

        A PlatformError that leaves the block is recorded as the step's outcome and raised on.
        """
        ...

    async def open_handle(
        self,
        *,
        external_id: str | None = None,
        secret: Mapping[str, SecretStr] | None = None,
        progress: Mapping[str, Any] | None = None,
        expires_at: datetime | None = None,
    ) -> Handle:
        """Store a new active handle for the post's revision; an older one is dropped."""
        ...

    async def save_handle(self, handle: Handle) -> Handle:
        """Store a handle's new facts."""
        ...

    def now(self) -> datetime:
        """Return the present instant by the database's clock."""
        ...

    async def sleep(self, duration: timedelta) -> None:
        """Wait; ends early with CancelledError when the dispatcher drains."""
        ...


class SendGate(Protocol):
    """Called once, right before a commit's first byte leaves (engine.md R4)."""

    def __call__(self) -> None:
        """Record the instant of sending; raise NotSentError when the send deadline has passed."""
        ...


@dataclass(frozen=True)
class Receipt:
    """A commit that the platform accepted: accepted is not live.

    `post_ids` and `permalink` are filled where the commit's answer already tells them.
    """

    code: str
    request_id: str | None = None
    post_ids: tuple[str, ...] = ()
    permalink: str | None = None


class Standing(StrEnum):
    """What a platform says of a handle or a post."""

    LIVE = "live"
    ACCEPTED = "accepted"
    NOT_PUBLISHED = "not_published"
    DEAD = "dead"
    REJECTED = "rejected"
    CANNOT_TELL = "cannot_tell"
    REMOVED = "removed"


@dataclass(frozen=True)
class Finding:
    """The answer of `find`, `confirm` and `look`.

    LIVE: the platform says it is published; `post_ids` may still be empty (TikTok's come later, and
    an Instagram id is bound only when there is one candidate). ACCEPTED: everything was received, the
    platform is working on it. NOT_PUBLISHED: it did not happen, and the same handle may be committed
    again (after the settle time). DEAD: the platform calls the handle terminal, R2 allows a new one.
    REJECTED: refused for good; `error` says why. CANNOT_TELL: ask again later. REMOVED: it was live, and
    nobody sees it any more (`look` only).
    """

    standing: Standing
    post_ids: tuple[str, ...] = ()
    permalink: str | None = None
    code: str = ""
    request_id: str | None = None
    error: PlatformError | None = None
    final: bool = True


@dataclass(frozen=True)
class Notice:
    """Something that the platform's present answer says about a post that is still to come.

    `refused`: it would be refused as it is; else it is to be known. `option` is the option that is
    concerned (`privacy`), empty where it is the account.
    """

    message: str
    fix: str
    option: str = ""
    refused: bool = False


@dataclass(frozen=True)
class Quota:
    """How many posts an account has published in the moving `window`, and how many it may."""

    used: int
    total: int
    window: timedelta


@dataclass(frozen=True)
class Outlook:
    """What `foresee` found; empty where the platform has nothing to say before the post."""

    notices: tuple[Notice, ...] = ()
    quota: Quota | None = None


@dataclass(frozen=True)
class Removal:
    """What `delete` or `revoke` did: `done`, or not possible by API and what a person must do."""

    done: bool
    instruction: str = ""


@dataclass(frozen=True)
class PostMetrics:
    """A public post's cumulative counters; None = not offered or not sent (never 0 for missing)."""

    post_id: str
    views: int | None = None
    likes: int | None = None
    comments: int | None = None
    shares: int | None = None
    reach: int | None = None


@dataclass(frozen=True)
class TokenSet:
    """Tokens as a platform issued them; lifetimes are always the answer's own."""

    access_token: SecretStr
    expires_in: timedelta | None
    refresh_token: SecretStr | None = None
    refresh_expires_in: timedelta | None = None
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Identity:
    """Who a token speaks for, as publishing needs it (platforms.md section 0)."""

    platform_account_id: str
    username: str | None
    details: Mapping[str, Any] = field(default_factory=dict)


class PlatformClient(Protocol):
    """One platform. Instances are shared by all publications of a dispatcher and hold no state."""

    @property
    def platform(self) -> Platform:
        """Which platform this is."""
        ...

    @property
    def policy_version(self) -> str:
        """Version of the outcome table and limits; stored with each ledger row."""
        ...

    async def foresee(self, post: Post, token: SecretStr) -> Outlook:
        """Ask what the account may do now, for a post that is to be scheduled; reads only."""
        ...

    async def prepare(
        self, post: Post, media: MediaSource, handle: Handle | None, desk: Desk
    ) -> Handle:
        """Do everything but the last step, resuming from `handle`; return it `ready`.

        Raises TransientError, ThrottledError, AuthExpiredError, RevokedError, RejectedError, or
        HandleDeadError when the stored handle cannot be used any more.
        """
        ...

    async def warm(self, post: Post, handle: Handle, desk: Desk) -> Handle:
        """Get ready for the commit some seconds ahead; best effort, never changes the platform."""
        ...

    async def commit(
        self, post: Post, media: MediaSource, handle: Handle, token: SecretStr, gate: SendGate
    ) -> Receipt:
        """Send the one call that makes the post public, once, never re-sent by the transport.

        Raises NotSentError when nothing left us, a documented refusal as its class, and
        UnknownOutcomeError for everything else (engine.md R1).
        """
        ...

    async def confirm(self, post: Post, handle: Handle, desk: Desk) -> Finding:
        """Ask whether an accepted post has gone live."""
        ...

    async def find(self, post: Post, handle: Handle, desk: Desk) -> Finding:
        """Ask whether a commit whose answer is unknown has happened; reads only."""
        ...

    async def look(self, post: Post, post_id: str, desk: Desk) -> Finding:
        """Ask whether the post `post_id`, which was live, is still there: LIVE or REMOVED.

        CANNOT_TELL where the account's permissions do not let it be asked.
        """
        ...

    async def delete(self, post: Post, handle: Handle, post_id: str | None, desk: Desk) -> Removal:
        """Take the public post `post_id` away, or what was prepared when it is None."""
        ...

    async def metrics(self, post_ids: Sequence[str], token: SecretStr) -> list[PostMetrics]:
        """Read the counters of public posts, in batches as the platform allows."""
        ...

    async def identify(self, token: SecretStr) -> Identity:
        """Ask who the token speaks for (a cheap, harmless read)."""
        ...

    async def refresh(self, access_token: SecretStr, refresh_token: SecretStr | None) -> TokenSet:
        """Get new tokens; raises RevokedError for the invalid_grant class, else TransientError.

        Never repeated by itself: refresh tokens may be single-use.
        """
        ...

    async def revoke(self, access_token: SecretStr, refresh_token: SecretStr | None) -> Removal:
        """Withdraw our access at the platform; not `done` where the platform has no such call.

        Raises AuthExpiredError when the platform does not take the token (any more), else
        TransientError.
        """
        ...
