"""The three clients over the real sandbox, with an account of their own for each test."""

import functools
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from minitik_dagster.db.types import Platform
from minitik_dagster.local.servers.sandbox import SandboxServer
from minitik_dagster.platforms.port import PlatformClient, Post
from minitik_dagster.platforms.registry import PlatformClients
from minitik_dagster.settings import Settings
from tests.platforms.doubles import FileMedia, MemoryDesk

SMALL_BYTES = 400_000
# Two chunks for TikTok: the smallest file that is cut is 10,485,760 bytes.
LARGE_BYTES = 11_534_337

COMMIT_OPERATION = {
    Platform.TIKTOK: "last_chunk",
    Platform.INSTAGRAM: "media_publish",
    Platform.YOUTUBE: "update",
}
OPTIONS: dict[Platform, dict[str, Any]] = {
    Platform.TIKTOK: {"privacy": "PUBLIC_TO_EVERYONE"},
    Platform.INSTAGRAM: {},
    Platform.YOUTUBE: {},
}


@pytest.fixture
def anyio_backend() -> str:
    """The clients run on asyncio only."""
    return "asyncio"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Keep the test's output free of access lines."""


@pytest.fixture(scope="session")
def media_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the videos lie that the platforms fetch."""
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="session")
def media_url(media_folder: Path) -> Iterator[str]:
    """A web server over the media folder, as the bucket is for a platform that fetches."""
    handler = functools.partial(_Quiet, directory=str(media_folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@dataclass
class Stage:
    """One platform's client, an account of its own, a post and a desk."""

    client: PlatformClient
    platform: Platform
    sandbox: SandboxServer
    account: dict[str, Any]
    post: Post
    desk: MemoryDesk
    media: FileMedia
    folder: Path = field(repr=False)

    @property
    def token(self) -> SecretStr:
        """The account's present access token."""
        return SecretStr(self.desk.access_token)

    @property
    def commit_operation(self) -> str:
        """The sandbox's name for the call that publishes."""
        return COMMIT_OPERATION[self.platform]

    def calls(self, operation: str | None = None) -> list[dict[str, Any]]:
        """The requests the platform has seen for this account."""
        return [
            call
            for call in self.sandbox.calls()
            if call["account"] == self.post.platform_account_id
            and operation in {None, call["operation"]}
        ]

    def public(self) -> list[dict[str, Any]]:
        """The account's public posts."""
        mine = self.post.platform_account_id
        return [post for post in self.sandbox.posts() if post["account"] == mine]

    def fault(self, operation: str, kind: str, **more: object) -> None:
        """Let this account's next calls of an operation go wrong."""
        self.sandbox.add_fault(
            platform=self.platform.value.lower(),
            operation=operation,
            kind=kind,
            account=self.post.platform_account_id,
            **{"count": 1, **more},
        )

    def with_file(self, size: int) -> "Stage":
        """Return the stage with a new random file of `size` bytes."""
        path = self.folder / f"{secrets.token_hex(6)}.mp4"
        path.write_bytes(secrets.token_bytes(size))
        return replace(self, media=FileMedia(path, self.media._base_url))

    def with_options(self, **options: Any) -> "Stage":
        """Return the stage with these options of the post added."""
        return replace(self, post=replace(self.post, options={**self.post.options, **options}))


_QUICK = {
    "tiktok": {"processingMs": 100, "moderationMs": 200},
    "instagram": {"processingMs": 100},
    "youtube": {"processingMs": 100},
}


@pytest.fixture
async def clients(sandbox: SandboxServer) -> AsyncIterator[PlatformClients]:
    """Clients of all three platforms, pointed at a sandbox that processes quickly."""
    sandbox.set_limits(**_QUICK)
    values = {name.lower(): value for name, value in sandbox.environment.items()}
    async with PlatformClients(Settings.model_validate(values)) as clients:
        yield clients
    sandbox.call("DELETE", "/_sandbox/limits")


def make_stage(
    clients: PlatformClients,
    sandbox: SandboxServer,
    platform: Platform,
    folder: Path,
    url: str,
    **account: object,
) -> Stage:
    """Make an account, a post and a small file for a platform."""
    made = sandbox.create_account(platform.value.lower(), **account)
    name = secrets.token_hex(6)
    path = folder / f"{name}.mp4"
    path.write_bytes(secrets.token_bytes(SMALL_BYTES))
    post = Post(
        publication_id=f"p{name}",
        account_id=f"a{name}",
        platform_account_id=made["platformAccountId"],
        title=f"Title {name}",
        caption=f"Caption {name} #tests",
        options=OPTIONS[platform],
        due_at=datetime.now(UTC) + timedelta(minutes=5),
        revision=1,
        marker=f"mtk-p{name}",
    )
    return Stage(
        client=clients.client(platform),
        platform=platform,
        sandbox=sandbox,
        account=made,
        post=post,
        desk=MemoryDesk(made["accessToken"]),
        media=FileMedia(path, url),
        folder=folder,
    )


@pytest.fixture(params=list(Platform), ids=lambda platform: platform.value.lower())
def stage(
    request: pytest.FixtureRequest,
    clients: PlatformClients,
    sandbox: SandboxServer,
    media_folder: Path,
    media_url: str,
) -> Stage:
    """A platform's client with all it needs; a test that takes it runs once per platform."""
    return make_stage(clients, sandbox, request.param, media_folder, media_url)


@pytest.fixture
def tiktok(
    clients: PlatformClients, sandbox: SandboxServer, media_folder: Path, media_url: str
) -> Stage:
    """TikTok's client with all it needs."""
    return make_stage(clients, sandbox, Platform.TIKTOK, media_folder, media_url)


@pytest.fixture
def instagram(
    clients: PlatformClients, sandbox: SandboxServer, media_folder: Path, media_url: str
) -> Stage:
    """Instagram's client with all it needs."""
    return make_stage(clients, sandbox, Platform.INSTAGRAM, media_folder, media_url)


@pytest.fixture
def youtube(
    clients: PlatformClients, sandbox: SandboxServer, media_folder: Path, media_url: str
) -> Stage:
    """YouTube's client with all it needs."""
    return make_stage(clients, sandbox, Platform.YOUTUBE, media_folder, media_url)


@pytest.fixture
def unused_base_url() -> str:
    """A loopback address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
