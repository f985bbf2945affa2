"""OpenAPI links: which later calls an answer holds the ids for ("OpenAPI Specification", Link Object)."""

from collections.abc import Mapping
from typing import Any, Final

_CONTENT: Final = {"content_id": "$response.body#/contentId"}
_UPLOAD: Final = {"upload_id": "$response.body#/uploadId"}
_JOB: Final = {"job_id": "$response.body#/scheduledJobId"}
_ACCOUNT: Final = {"account_id": "$response.body#/accounts/0/id"}
_UPLOADED: Final = {
    "read_content": _CONTENT,
    "read_publications": _CONTENT,
    "resume_upload": _UPLOAD,
    "confirm_part": _UPLOAD,
    "complete_upload": _UPLOAD,
    "abort_upload": _UPLOAD,
}
_SCHEDULED: Final = {
    "read_scheduled_job": _JOB,
    "change_scheduled_job": _JOB,
    "cancel_scheduled_job": _JOB,
    "read_publications": _CONTENT,
    "delete_publications": _CONTENT,
}
# Operation, then the operations that may follow, each with where its path's ids stand in the answer.
LINKS: Final[Mapping[str, Mapping[str, Mapping[str, str]]]] = {
    "begin_upload": _UPLOADED,
    "begin_upload_alias1": _UPLOADED,
    "schedule_post": _SCHEDULED,
    "publish_post": _SCHEDULED,
    "list_library": {"read_content": {"content_id": "$response.body#/items/0/id"}},
    "list_connected_accounts": {
        "change_account": _ACCOUNT,
        "refresh_account": _ACCOUNT,
        "release_held_posts": _ACCOUNT,
    },
}


def add_links(operation: dict[str, Any]) -> None:
    """Put an operation's links beside its good answer."""
    following = LINKS.get(operation["operationId"])
    if following is None:
        return
    status = next(status for status in operation["responses"] if status.startswith("2"))
    operation["responses"][status]["links"] = {
        name: {"operationId": name, "parameters": dict(parameters)}
        for name, parameters in following.items()
    }
