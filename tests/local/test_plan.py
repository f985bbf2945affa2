"""Only what is not configured is started, and what is set is never overruled."""

from pathlib import Path

import pytest

from minitik_dagster.local.data_folder import DataFolder
from minitik_dagster.local.plan import DEMO_EMAIL, Plan, StackOptions, make_plan
from minitik_dagster.local.sandbox.urls import PREFIXES
from minitik_dagster.local.secrets_file import DATABASE_PASSWORD, PUSH_NAMES, load_or_make_secrets
from minitik_dagster.notifications.web_push import PushIdentity
from minitik_dagster.settings import Settings

REAL_DATABASE = "postgresql://somebody@db.example.com/live"


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    found = DataFolder(tmp_path / "data")
    found.open()
    found.close()
    return found


def plan(folder: DataFolder, *, demo: bool | None = None, **environ: str) -> Plan:
    secrets = load_or_make_secrets(folder.secrets_file)
    return make_plan(StackOptions(folder.path, demo=demo), environ, folder, secrets)


def test_an_empty_environment_gets_everything(folder: DataFolder) -> None:
    """All servers, the sandbox and the demo user; every port differs."""
    found = plan(folder)
    assert {server.name for server in found.servers} == {
        *("PostgreSQL", "Redis", "MongoDB", "S3", "sandbox"),
    }
    assert found.seeds
    assert found.environment["ADMIN_EMAILS"] == DEMO_EMAIL
    assert set(PREFIXES) <= set(found.environment)
    ports = [server.port for server in found.servers]
    ports += [found.api_port, found.web_port, found.code_port]
    assert len(set(ports)) == len(ports)


def test_what_is_configured_is_used_and_not_started(folder: DataFolder) -> None:
    """Dagster's storage alone still needs the embedded PostgreSQL."""
    found = plan(
        folder,
        DATABASE_URL=REAL_DATABASE,
        REDIS_URL="redis://cache.example.com/0",
        MONGODB_URI="mongodb://mongo.example.com/",
        AWS_S3_BUCKET="videos",
    )
    assert [server.name for server in found.servers] == ["PostgreSQL"]
    assert found.environment["DATABASE_URL"] == REAL_DATABASE
    assert found.environment["REDIS_URL"] == "redis://cache.example.com/0"
    assert found.environment["AWS_S3_BUCKET"] == "videos"
    assert "AWS_ENDPOINT_URL_S3" not in found.environment
    assert "127.0.0.1" in found.environment["DAGSTER_POSTGRES_URL"]


@pytest.mark.parametrize(("demo", "sandbox"), [(None, False), (True, True), (False, False)])
def test_a_database_of_the_operators_gets_a_sandbox_only_when_asked(
    folder: DataFolder, demo: bool | None, sandbox: bool
) -> None:
    """Unset hosts then mean the real platforms, and no demo user is written there."""
    found = plan(folder, demo=demo, DATABASE_URL=REAL_DATABASE)
    assert (found.sandbox is not None) is sandbox
    assert found.seeds is sandbox
    assert ("TIKTOK_API_BASE_URL" in found.environment) is sandbox


def test_no_demo_on_a_database_of_our_own_starts_no_sandbox(folder: DataFolder) -> None:
    """`--no-demo` leaves the platforms real."""
    found = plan(folder, demo=False)
    assert found.sandbox is None
    assert not found.seeds
    assert "ADMIN_EMAILS" not in found.environment


def test_hosts_that_point_to_another_loopback_server_are_left_and_seeded(
    folder: DataFolder,
) -> None:
    """Somebody else's emulator is used as it is."""
    hosts = {name: f"http://127.0.0.1:9{prefix}" for name, prefix in PREFIXES.items()}
    found = plan(folder, demo=None, **hosts)
    assert found.sandbox is None
    assert found.seeds
    assert {name: found.environment[name] for name in hosts} == hosts


def test_a_real_host_keeps_the_sandbox_away(folder: DataFolder) -> None:
    """Real and emulated platforms are never mixed."""
    found = plan(folder, TIKTOK_API_BASE_URL="https://open.tiktokapis.com")
    assert found.sandbox is None
    assert not found.seeds


def test_only_unset_hosts_go_to_the_sandbox(folder: DataFolder) -> None:
    """One platform on another loopback server, the rest in the sandbox."""
    own = "http://127.0.0.1:9/youtube"
    found = plan(folder, YOUTUBE_API_BASE_URL=own)
    assert found.sandbox is not None
    assert found.environment["YOUTUBE_API_BASE_URL"] == own
    assert found.environment["TIKTOK_API_BASE_URL"].startswith(found.sandbox.url)


def test_keys_are_made_once_and_the_callers_win(folder: DataFolder) -> None:
    """A second start reads the same keys; a key in the environment is not overruled."""
    first, second = plan(folder), plan(folder)
    assert first.environment["ENCRYPTION_KEY"] == second.environment["ENCRYPTION_KEY"]
    assert plan(folder, ENCRYPTION_KEY="f" * 64).environment["ENCRYPTION_KEY"] == "f" * 64
    assert DATABASE_PASSWORD not in first.environment


def test_web_push_works_by_a_pair_of_the_folder_unless_one_is_configured(
    folder: DataFolder,
) -> None:
    """All three variables are ours, or none: a key beside another one's half would be refused."""
    found = Settings.model_validate(
        {name.lower(): value for name, value in plan(folder).environment.items()}
    )
    assert PushIdentity.of(found) is not None
    for name in PUSH_NAMES:
        environment = plan(folder, demo=None, **{name: "the operator's"}).environment
        assert [environment.get(one) for one in PUSH_NAMES if one != name] == [None, None]


def test_admins_of_the_environment_stay_admins(folder: DataFolder) -> None:
    """The demo admin is added to the list, not put in its place."""
    found = plan(folder, ADMIN_EMAILS="boss@example.com")
    assert found.environment["ADMIN_EMAILS"].split(",") == ["boss@example.com", DEMO_EMAIL]
