"""The data folder has one owner, keeps its keys private and is never left half written."""

import json
import os
import stat
from pathlib import Path

import pytest

from minitik_dagster.local.data_folder import DataFolder
from minitik_dagster.local.endpoints import (
    Endpoints,
    environment_beside,
    read_endpoints,
    running_endpoints,
)
from minitik_dagster.local.errors import FolderUnusableError, LocalStackError
from minitik_dagster.local.secrets_file import (
    DATABASE_PASSWORD,
    load_or_make_secrets,
    read_secrets,
)
from minitik_dagster.local.servers.s3 import S3Server
from minitik_dagster.local.up import without_credentials
from minitik_dagster.notifications.web_push import public_key_of


def endpoints(api: str) -> Endpoints:
    return Endpoints(
        api=api,
        dagster="http://127.0.0.1:1",
        sandbox="http://127.0.0.1:2",
        databaseUrl="postgresql://minitik:word@127.0.0.1:3/minitik",
        redisUrl="redis://127.0.0.1:4/0",
        mongodbUri="mongodb://127.0.0.1:5/",
        s3Endpoint="http://127.0.0.1:6",
        s3Bucket="minitik",
        apiKey="mtk_planted",
        adminApiKey="mtk_planted_admin",
    )


def test_a_second_owner_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    """Two stacks on one folder would destroy its data."""
    first, second = DataFolder(tmp_path / "data"), DataFolder(tmp_path / "data")
    first.open()
    with pytest.raises(LocalStackError, match=f"process {os.getpid()}"):
        second.open()
    assert second.is_owned_by_someone()
    first.close()
    assert not second.is_owned_by_someone()
    second.open()
    second.close()


def test_a_file_in_the_way_is_one_clear_line(tmp_path: Path) -> None:
    """The line names the folder and the option that changes it."""
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(FolderUnusableError, match="--data-dir"):
        DataFolder(tmp_path / "data").open()


def test_keys_are_private_and_stay_the_same(tmp_path: Path) -> None:
    """What was sealed with them must open after the next start; a key added by hand stays."""
    file = tmp_path / "secrets.env"
    first = load_or_make_secrets(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text(file.read_text() + "RESEND_API_KEY=added-by-hand\n")
    assert load_or_make_secrets(file) == first | {"RESEND_API_KEY": "added-by-hand"}
    assert len(bytes.fromhex(first["ENCRYPTION_KEY"])) == 32


def test_a_folder_has_a_push_pair_of_its_own(tmp_path: Path) -> None:
    """Made once, a pair; a folder that was made before gets one, and half a pair is left as it is."""
    file = tmp_path / "secrets.env"
    file.write_text("ENCRYPTION_KEY=aa\n")
    made = load_or_make_secrets(file)
    assert made["VAPID_PUBLIC_KEY"] == public_key_of(made["VAPID_PRIVATE_KEY"])
    assert load_or_make_secrets(file) == made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("VAPID_PUBLIC_KEY=by hand\n")
    assert "VAPID_PRIVATE_KEY" not in load_or_make_secrets(file)


def test_endpoints_are_private_hold_every_key_and_hide_credentials_in_print(
    tmp_path: Path,
) -> None:
    """The file's keys are a contract with other programs."""
    file = tmp_path / "endpoints.json"
    given = endpoints("http://127.0.0.1:7")
    given.write(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_endpoints(file) == given
    assert list(json.loads(file.read_text())) == [
        *("api", "dagster", "sandbox", "databaseUrl", "redisUrl", "mongodbUri"),
        *("s3Endpoint", "s3Bucket", "apiKey", "adminApiKey"),
    ]
    assert "word" not in repr(given)
    assert "mtk_" not in repr(given)


def test_a_file_left_by_a_crash_is_not_a_running_stack(tmp_path: Path, s3_server: S3Server) -> None:
    """Only a folder with a living owner and an API that listens counts."""
    folder = DataFolder(tmp_path / "data")
    folder.open()
    load_or_make_secrets(folder.secrets_file)
    endpoints(s3_server.url).write(folder.endpoints_file)
    assert running_endpoints(folder) is not None
    beside = environment_beside(folder)
    assert beside["DATABASE_URL"].startswith("postgresql://")
    assert beside["ENCRYPTION_KEY"] == read_secrets(folder.secrets_file)["ENCRYPTION_KEY"]
    assert DATABASE_PASSWORD not in beside
    folder.close()
    assert running_endpoints(folder) is None
    assert environment_beside(folder) == {}


def test_each_start_begins_its_own_log_and_keeps_the_one_before(tmp_path: Path) -> None:
    """What a crashed start wrote is still there after the next."""
    folder = DataFolder(tmp_path / "data")
    folder.open()
    folder.log("api").write_text("the crash")
    assert not folder.log("api").exists()
    assert (folder.logs / "api.log.1").read_text() == "the crash"
    folder.close()


def test_addresses_are_printed_without_passwords() -> None:
    """Lines on a screen get copied into reports."""
    assert without_credentials("postgresql://me:word@host:1/db") == "postgresql://host:1/db"
    assert without_credentials("redis://127.0.0.1:4/0") == "redis://127.0.0.1:4/0"
