"""A command run beside `minitik up` uses that stack, and never mixes two deployments."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from minitik_dagster.cli.environment import join_running_stack
from minitik_dagster.local.data_folder import DataFolder
from minitik_dagster.local.endpoints import Endpoints
from minitik_dagster.local.secrets_file import DATABASE_PASSWORD, load_or_make_secrets, read_secrets
from minitik_dagster.notifications.web_push import PushIdentity
from minitik_dagster.settings import load_settings

STACK_DATABASE = "postgresql://minitik:word@127.0.0.1:3/minitik"


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DataFolder]:
    """What a running stack looks like from beside: the lock, the files, an API that listens."""
    monkeypatch.chdir(tmp_path)
    # Every variable that joining could set is given back after the test.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    folder = DataFolder(tmp_path / ".minitik")
    folder.open()
    load_or_make_secrets(folder.secrets_file)
    with socket.create_server(("127.0.0.1", 0)) as api:
        Endpoints(
            api=f"http://127.0.0.1:{api.getsockname()[1]}",
            dagster="http://127.0.0.1:1",
            sandbox="http://127.0.0.1:2",
            databaseUrl=STACK_DATABASE,
            redisUrl="redis://127.0.0.1:4/0",
            mongodbUri="mongodb://127.0.0.1:5/",
            s3Endpoint="http://127.0.0.1:6",
            s3Bucket="minitik",
            apiKey=None,
            adminApiKey=None,
        ).write(folder.endpoints_file)
        yield folder
    folder.close()


def test_what_is_not_set_comes_from_the_running_stack(stack: DataFolder) -> None:
    """Servers, keys and platform hosts; the database's own password file entry stays out."""
    join_running_stack()
    settings = load_settings()
    assert settings.require_database_url() == STACK_DATABASE
    assert settings.encryption_keys()
    assert settings.platform_world == "sandbox"
    assert DATABASE_PASSWORD not in os.environ


def test_dagsters_storage_is_joined_where_the_stack_runs_it(stack: DataFolder) -> None:
    """`doctor` and `incident` look at the daemon as well; another's server holds no such database."""
    join_running_stack()
    assert "DAGSTER_HOME" not in os.environ
    password = read_secrets(stack.secrets_file)[DATABASE_PASSWORD]
    written = stack.endpoints_file.read_text().replace(":word@", f":{password}@")
    stack.endpoints_file.write_text(written)
    os.environ.pop("DATABASE_URL")
    join_running_stack()
    expected = f"postgresql://minitik:{password}@127.0.0.1:3/dagster"
    assert os.environ["DAGSTER_POSTGRES_URL"] == expected
    assert os.environ["DAGSTER_HOME"] == str(stack.dagster_home)


def test_what_is_set_wins_and_an_empty_variable_counts_as_unset(stack: DataFolder) -> None:
    os.environ["REDIS_URL"] = "redis://127.0.0.1:9/0"
    os.environ["MONGODB_URI"] = ""
    join_running_stack()
    assert os.environ["REDIS_URL"] == "redis://127.0.0.1:9/0"
    assert os.environ["MONGODB_URI"] == "mongodb://127.0.0.1:5/"


def test_another_database_joins_nothing(stack: DataFolder) -> None:
    """A configured deployment never gets a local stack's keys or platform hosts."""
    os.environ["DATABASE_URL"] = "postgresql://minitik@db.example/production"
    before = dict(os.environ)
    join_running_stack()
    assert dict(os.environ) == before


def test_a_push_key_of_the_environment_is_not_mixed_with_the_stacks(stack: DataFolder) -> None:
    """The three variables belong together."""
    os.environ["VAPID_SUBJECT"] = "mailto:ops@example.com"
    join_running_stack()
    assert "VAPID_PRIVATE_KEY" not in os.environ
    del os.environ["VAPID_SUBJECT"]
    join_running_stack()
    assert PushIdentity.of(load_settings()) is not None


def test_the_stacks_own_database_named_by_hand_joins_the_rest(stack: DataFolder) -> None:
    """`up` on a configured database keeps generated keys for the commands beside it."""
    os.environ["DATABASE_URL"] = STACK_DATABASE
    join_running_stack()
    assert load_settings().encryption_keys()


def test_a_stack_that_no_longer_runs_is_not_joined(stack: DataFolder) -> None:
    """Files left by a crash do not count: the lock is free."""
    stack.close()
    join_running_stack()
    assert "DATABASE_URL" not in os.environ


def test_another_folder_is_named_by_minitik_home(
    stack: DataFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    join_running_stack()
    assert "DATABASE_URL" not in os.environ
    os.environ["MINITIK_HOME"] = str(stack.path)
    join_running_stack()
    assert os.environ["DATABASE_URL"] == STACK_DATABASE
