"""What an upload remembers on disk."""

from pathlib import Path

import pytest

from minitik_dagster.client.state import UploadState, open_state, state_path
from minitik_dagster.errors import InvalidInputError, StateConflictError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file to upload."""
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"video")
    return path


def test_a_state_is_read_back_and_holds_one_process_at_a_time(file: Path) -> None:
    """Written, found again by the next start, locked meanwhile, gone at the end."""
    state = UploadState.of("http://127.0.0.1:8000", file)
    with open_state(state_path(file)) as kept:
        assert kept.read() is None
        kept.write(state)
        with pytest.raises(StateConflictError), open_state(state_path(file)):
            pass
    state.content_id = "c1"
    with open_state(state_path(file)) as kept:
        found = kept.read()
        assert found is not None
        assert found.once == state.once
        assert found.is_of(UploadState.of("http://127.0.0.1:8000", file))
        kept.write(state)
        assert kept.read() == state
        kept.forget()
    assert not state_path(file).exists()


def test_another_server_or_a_changed_file_is_another_upload(file: Path) -> None:
    state = UploadState.of("http://127.0.0.1:8000", file)
    assert not state.is_of(UploadState.of("http://127.0.0.1:8001", file))
    file.write_bytes(b"another")
    assert not state.is_of(UploadState.of("http://127.0.0.1:8000", file))


def test_a_file_that_is_no_state_is_left_alone(file: Path) -> None:
    """It may be somebody's: the error names it."""
    with open_state(file) as kept, pytest.raises(InvalidInputError, match="no upload's state"):
        kept.read()
    assert file.read_bytes() == b"video"
