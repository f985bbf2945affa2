"""The demo's view of the HTTP API: upload in parts, schedule, follow. What any program would do."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from minitik_dagster.local.errors import LocalStackError

_PLATFORMS = ("tiktok", "instagram", "youtube")


@dataclass(frozen=True)
class UploadPlan:
    """What the API says about an upload that has begun."""

    content_id: str
    chunk_size: int
    urls: tuple[str, ...]


class DemoClient:
    """A client of the API with one key. Errors are LocalStackError with the API's own words."""

    def __init__(self, base_url: str, api_key: str) -> None:
        # No proxy of the environment comes between: everything is on loopback.
        self._api = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=30,
            trust_env=False,
        )
        self._storage = httpx.Client(timeout=60, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._api.close()
        self._storage.close()

    def accounts(self) -> dict[str, str]:
        """One connected account per platform: `{platform in lower case: account id}`."""
        found: dict[str, str] = {}
        for account in self._call("GET", "/api/accounts")["accounts"]:
            if account["status"] == "CONNECTED":
                found.setdefault(account["platform"].lower(), account["id"])
        missing = [name for name in _PLATFORMS if name not in found]
        if missing:
            raise LocalStackError(f"no connected demo account on {', '.join(missing)}")
        return {name: found[name] for name in _PLATFORMS}

    def begin_upload(self, file: Path, title: str) -> UploadPlan:
        """Announce a file; the answer holds a presigned URL per part."""
        answer = self._call(
            "POST",
            "/api/content",
            {
                "title": title,
                "filename": file.name,
                "mimeType": "video/mp4",
                "fileSize": file.stat().st_size,
            },
        )
        parts = sorted(answer["chunkUrls"], key=lambda part: int(part["partNumber"]))
        urls = tuple(str(part["url"]) for part in parts)
        return UploadPlan(answer["contentId"], int(answer["chunkSize"]), urls)

    def send_part(self, plan: UploadPlan, number: int, data: bytes) -> None:
        """Put one part (from 1) straight to the storage and tell the API its ETag."""
        try:
            answer = self._storage.put(plan.urls[number - 1], content=data)
        except httpx.HTTPError as error:
            raise LocalStackError(
                f"S3: part {number} could not be sent: {type(error).__name__}"
            ) from None
        if answer.status_code != 200:
            raise LocalStackError(f"S3: part {number} was refused with {answer.status_code}")
        path = f"/api/content/upload/{plan.content_id}/chunk/{number}"
        self._call("PUT", path, {"etag": answer.headers["etag"]})

    def complete(self, plan: UploadPlan) -> dict[str, Any]:
        """Close the upload; the answer holds the probed facts and each platform's verdict."""
        return self._call("POST", f"/api/content/upload/{plan.content_id}/complete")

    def schedule(
        self, content_id: str, account_ids: list[str], wall_time: str, zone: str
    ) -> dict[str, Any]:
        """Schedule at a wall time (no offset) of an IANA zone."""
        return self._call(
            "POST",
            "/api/scheduling",
            {
                "contentId": content_id,
                "accountIds": account_ids,
                "scheduledAt": wall_time,
                "timezone": zone,
            },
        )

    def publications(self, content_id: str) -> list[dict[str, Any]]:
        """The state of each publication of a content."""
        return list(self._call("GET", f"/api/publishing/{content_id}")["publications"])

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        try:
            answer = self._api.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise LocalStackError(f"the API: {method} {path}: {type(error).__name__}") from None
        if answer.status_code >= 400:
            raise LocalStackError(
                f"the API refused {method} {path} with {answer.status_code}: {_words(answer)}"
            )
        data = answer.json()
        assert isinstance(data, dict)
        return data


def _words(answer: httpx.Response) -> str:
    """The problem's own words, in one line."""
    try:
        problem = answer.json()
    except ValueError:
        return answer.text[:200]
    fields = [
        " ".join(str(item.get(key, "")) for key in ("field", "message", "fix")).strip()
        for item in problem.get("errors", [])
        if isinstance(item, dict)
    ]
    return "; ".join([str(problem.get("detail") or problem.get("title") or ""), *fields])
