"""The platforms' protocols as an app speaks them, one small function per call."""

from typing import Any

from httpx2 import Response

from .conftest import Account, SandboxProcess

VIDEO = bytes(range(256)) * 64
OCTETS = {"Content-Type": "video/mp4"}


class TikTokApp:
    """One TikTok creator's app."""

    def __init__(self, sandbox: SandboxProcess, account: Account) -> None:
        self.sandbox, self.account = sandbox, account
        self.root = sandbox.env["TIKTOK_API_BASE_URL"] + "/v2/"

    def post(self, path: str, body: Any = None) -> Response:
        return self.sandbox.http.post(self.root + path, json=body, headers=self.account.bearer)

    def init(
        self, size: int = len(VIDEO), chunk: int | None = None, count: int = 1, **info: Any
    ) -> Response:
        post_info = {"privacy_level": "PUBLIC_TO_EVERYONE", "title": "a day out", **info}
        source = {"source": "FILE_UPLOAD", "video_size": size, "chunk_size": chunk or size,
                  "total_chunk_count": count}  # fmt: skip
        return self.post(
            "post/publish/video/init/", {"post_info": post_info, "source_info": source}
        )

    def opened(self, **values: Any) -> tuple[str, str]:
        """Open a post and return (publish_id, upload_url)."""
        data = self.init(**values).json()["data"]
        return data["publish_id"], data["upload_url"]

    def put(
        self, url: str, body: bytes = VIDEO, first: int = 0, total: int | None = None
    ) -> Response:
        whole = len(body) if total is None else total
        span = f"bytes {first}-{first + len(body) - 1}/{whole}"
        return self.sandbox.http.put(url, content=body, headers={**OCTETS, "Content-Range": span})

    def status(self, publish_id: str) -> dict[str, Any]:
        answer = self.post("post/publish/status/fetch/", {"publish_id": publish_id})
        data: dict[str, Any] = answer.json()["data"]
        return data


class InstagramApp:
    """One Instagram account's app."""

    def __init__(self, sandbox: SandboxProcess, account: Account) -> None:
        self.sandbox, self.account = sandbox, account
        self.root = sandbox.env["INSTAGRAM_GRAPH_BASE_URL"] + "/v25.0/"

    def get(self, path: str, **query: Any) -> Response:
        return self.sandbox.http.get(self.root + path, params=query, headers=self.account.bearer)

    def post(self, path: str, **form: Any) -> Response:
        return self.sandbox.http.post(self.root + path, data=form, headers=self.account.bearer)

    def create(self, **values: Any) -> Response:
        return self.post(f"{self.account.id}/media", **{"media_type": "REELS", **values})

    def state(self, container: str) -> str:
        return str(self.get(container, fields="status_code").json().get("status_code"))

    def publish(self, container: str) -> Response:
        return self.post(f"{self.account.id}/media_publish", creation_id=container)


class YouTubeApp:
    """One YouTube channel's app."""

    def __init__(self, sandbox: SandboxProcess, account: Account) -> None:
        self.sandbox, self.account = sandbox, account
        self.root = sandbox.env["YOUTUBE_API_BASE_URL"]

    def start(self, size: int | None = len(VIDEO), **body: Any) -> Response:
        headers = {**self.account.bearer, "X-Upload-Content-Type": "video/mp4"}
        if size is not None:
            headers["X-Upload-Content-Length"] = str(size)
        resource = {
            "snippet": {"title": "a day out", "categoryId": "22"},
            "status": {"privacyStatus": "private"},
            **body,
        }
        return self.sandbox.http.post(
            self.root + "/upload/youtube/v3/videos",
            params={"uploadType": "resumable", "part": "snippet,status"},
            json=resource,
            headers=headers,
        )

    def session(self, **values: Any) -> str:
        return self.start(**values).headers["Location"]

    def put(self, uri: str, body: bytes = VIDEO, span: str | None = None) -> Response:
        headers = {**OCTETS, **({"Content-Range": span} if span else {})}
        return self.sandbox.http.put(uri, content=body, headers=headers)

    def ask(self, uri: str, total: int) -> Response:
        return self.sandbox.http.put(uri, headers={"Content-Range": f"bytes */{total}"})

    def uploaded(self, **values: Any) -> str:
        """Upload a private video and return its id."""
        return str(self.put(self.session(**values)).json()["id"])

    def videos(self, method: str, query: dict[str, str], body: Any = None) -> Response:
        return self.sandbox.http.request(
            method,
            self.root + "/youtube/v3/videos",
            params=query,
            json=body,
            headers=self.account.bearer,
        )

    def update(self, video: str, **status: Any) -> Response:
        return self.videos("PUT", {"part": "status"}, {"id": video, "status": status})

    def one(self, video: str, part: str = "status") -> dict[str, Any]:
        items = self.videos("GET", {"part": part, "id": video}).json()["items"]
        found: dict[str, Any] = items[0] if items else {}
        return found
