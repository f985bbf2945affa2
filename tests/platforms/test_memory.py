"""Memory stays flat whatever the file's size: at most pieces are held, never a file."""

import os
import tracemalloc

import pytest

from tests.platforms.conftest import Stage
from tests.platforms.doubles import OpenGate

pytestmark = pytest.mark.anyio

_FILE_BYTES = 64 * 1024 * 1024
# The double's `hold` reads TikTok's last chunk at once (5.2 MB); a whole file would be ten times that.
_ALLOWED_BYTES = 12 * 1024 * 1024


async def test_an_upload_never_holds_the_file_in_memory(stage: Stage) -> None:
    """64 MiB through prepare and commit, streamed in pieces of 256 KiB."""
    os.truncate(stage.media.path, _FILE_BYTES)
    tracemalloc.start()
    try:
        handle = await stage.client.prepare(stage.post, stage.media, None, stage.desk)
        await stage.client.commit(stage.post, stage.media, handle, stage.token, OpenGate())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    stage.media.path.unlink()
    assert peak < _ALLOWED_BYTES
    assert [post["bytes"] for post in stage.public()] == [_FILE_BYTES]
