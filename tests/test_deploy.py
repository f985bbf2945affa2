"""What stands in deploy/ agrees with itself, with the page, and with what the programs take."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from dagster import DagsterInstance
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_celery.launcher import CeleryRunLauncher

from minitik_dagster.errors import ConfigurationError
from minitik_dagster.resources.celery_worker import worker_app
from minitik_dagster.settings import Settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
PROGRAMS = ("code-server", "daemon", "webserver", "api", "dispatcher")
COMPOSE = (DEPLOY / "compose.yaml", DEPLOY / "celery" / "compose.yaml")
# Read by Dagster's own files, or by Compose for its servers.
NOT_OURS = {"MINITIK_CODE_SERVER_HOST", "MINITIK_CODE_SERVER_PORT", "POSTGRES_PASSWORD"}
UNITS = {
    name: DEPLOY / "systemd" / f"minitik-{name}.service"
    for name in (*PROGRAMS, "migrate", "celery-worker", "viewers")
}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """Compose's services, merged as Compose does."""
    found: dict[str, dict[str, Any]] = {}
    for file in COMPOSE:
        for name, service in yaml.safe_load(file.read_text())["services"].items():
            found[name] = found.get(name, {}) | service
    return found


def _exec(name: str) -> list[str]:
    [line] = [
        text for text in UNITS[name].read_text().splitlines() if text.startswith("ExecStart=")
    ]
    return line.removeprefix("ExecStart=").replace("%%", "%").split()


def command_of_unit(name: str, *, host: str) -> list[str]:
    """A program's command as its unit has it, bound to another address."""
    command = _exec(name)
    return [
        command[0].rsplit("/", 1)[-1],
        *(host if word == "127.0.0.1" else word for word in command[1:]),
    ]


def _shape(command: list[str]) -> list[str]:
    """A command without its folder, addresses and ports, which differ between the two."""
    return [
        word.rsplit("/", 1)[-1] if number == 0 else word
        for number, word in enumerate(command)
        if word not in {"0.0.0.0", "127.0.0.1"}  # noqa: S104 - what is compared, not what is bound
    ]


@pytest.mark.parametrize("name", UNITS)
def test_compose_and_systemd_start_the_same_programs(
    services: dict[str, dict[str, Any]], name: str
) -> None:
    """With the same arguments, and each by a program that this package or its lock installs."""
    command = services[name].get("command") or ["minitik", "db", "upgrade"]
    assert _shape(command) == _shape(_exec(name))
    scripts = {item.name for item in importlib.metadata.entry_points(group="console_scripts")}
    assert command[0] in scripts
    assert Path(sys.executable).parent.joinpath(command[0]).exists()


def test_no_program_starts_before_the_migration_and_none_migrates_by_itself(
    services: dict[str, dict[str, Any]],
) -> None:
    for name in PROGRAMS:
        waits = services[name]["depends_on"]["migrate"]
        assert waits == {"condition": "service_completed_successfully"}, name
        assert "upgrade" not in services[name]["command"]
    assert services["migrate"]["restart"] == "no"


def test_only_loopback_is_published_and_every_part_has_a_health_check(
    services: dict[str, dict[str, Any]],
) -> None:
    """The web UI has no authentication of its own; a proxy stands in front of both."""
    for name, service in services.items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        if name != "migrate":
            assert service["healthcheck"]["test"], name
    for name in ("webserver", "api"):
        assert "127.0.0.1" in " ".join(_exec(name))


def test_a_dispatcher_has_the_time_to_end_what_it_sends(
    services: dict[str, dict[str, Any]],
) -> None:
    for name in ("dispatcher", "code-server"):
        assert services[name]["stop_grace_period"] == "60s"
        assert "TimeoutStopSec=60" in UNITS[name].read_text()


def test_the_environment_file_does_not_undo_what_the_units_set() -> None:
    """A file wins in systemd over `Environment=`: an empty DAGSTER_HOME there would stop Dagster."""
    form = (ROOT / ".env.example").read_text()
    for unit in UNITS.values():
        for line in re.findall(r"^Environment=(.*)$", unit.read_text(), re.MULTILINE):
            for name in (pair.split("=")[0] for pair in line.split()):
                assert not re.search(rf"^{name}=", form, re.MULTILINE), name


@pytest.mark.parametrize("name", sorted(set(UNITS) - {"migrate"}))
def test_systemd_never_gives_a_program_up(name: str) -> None:
    """By default five ends within ten seconds are the last: a database's restart would be the end."""
    unit, _, service = UNITS[name].read_text().partition("[Service]")
    assert "\nStartLimitIntervalSec=0\n" in unit
    assert "\nRestart=always\n" in service


def test_what_builds_the_images_wheel_is_held_by_a_lock() -> None:
    """All that hatchling needs, by hashes, and no build isolation that would take the newest."""
    image = (DEPLOY / "Dockerfile").read_text()
    named = re.search(r"awk '/\^\(([a-z|-]+)\)==/", image)
    assert named is not None
    held = set(named[1].split("|"))
    lock = (ROOT / "requirements" / "dev.lock").read_text()
    assert all(re.search(rf"^{name}==", lock, re.MULTILINE) for name in held)
    needed = importlib.metadata.requires("hatchling") or []
    names = {re.split(r"[^A-Za-z0-9-]", item)[0] for item in needed if "python_version" not in item}
    assert names | {"hatchling"} <= held
    assert "pip wheel --no-deps --no-build-isolation" in image
    assert set(re.findall(r"^FROM (\S+)", image, re.MULTILINE)) == {"${PYTHON}"}


def test_every_variable_that_is_set_there_is_one_that_somebody_reads(
    services: dict[str, dict[str, Any]],
) -> None:
    known = {name.upper() for name in Settings.model_fields} | NOT_OURS
    told = {name for part in (*PROGRAMS, "celery-worker") for name in services[part]["environment"]}
    for file in COMPOSE:
        told |= set(re.findall(r"\$\{([A-Z_]+)", file.read_text()))
    for unit in UNITS.values():
        for line in re.findall(r"^Environment=(.*)$", unit.read_text(), re.MULTILINE):
            told |= {pair.split("=")[0] for pair in line.split()}
    assert told <= known, told - known


def test_the_image_holds_what_the_programs_read() -> None:
    """The lock with its hashes, both of Dagster's files, a user of its own; nothing of a developer's."""
    image = (DEPLOY / "Dockerfile").read_text()
    assert "--require-hashes --no-deps -r requirements/${LOCK}.lock" in image
    assert "ARG LOCK=run\n" in image
    assert re.search(r"^USER minitik$", image, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*", "an allow-list: no .env can slip into an image"
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", image, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied <= allowed
    assert all((ROOT / name).exists() for name in allowed)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_every_unit(tmp_path: Path) -> None:
    """By systemd's own verification, with the programs of this environment."""
    # The clone's folder may have spaces in its name, which a unit would have to quote.
    binaries = tmp_path / "bin"
    binaries.symlink_to(Path(sys.executable).parent)
    units = tmp_path / "units"
    units.mkdir()
    for unit in (*UNITS.values(), DEPLOY / "systemd" / "minitik.target"):
        text = unit.read_text().replace("/opt/minitik/bin", str(binaries))
        (units / unit.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, sorted(units.iterdir()))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "minitik" in line]
    assert not ours, ours


@pytest.mark.parametrize("file", COMPOSE, ids=lambda file: file.parent.name)
def test_compose_takes_the_files_as_they_are(file: Path) -> None:
    """By a strict reader of the Compose Specification: no key, condition or port that it does not know."""
    merged = yaml.safe_load(file.read_text())  # `<<` as Compose merges it
    assert PyCompose.from_yaml(yaml.safe_dump(merged)).service_names()
    part = "celery-worker" if file.parent.name == "celery" else "api"
    merged["services"][part]["depends_on"]["migrate"]["condition"] = "service_done"
    with pytest.raises(ValueError, match="depends_on"):
        PyCompose.from_yaml(yaml.safe_dump(merged))


def test_every_part_is_a_service(services: dict[str, dict[str, Any]]) -> None:
    """Ours, and the servers that are run here."""
    ours = {*PROGRAMS, "migrate", "viewers", "celery-worker"}
    assert set(services) == ours | {"postgres", "redis", "mongo"}


def test_the_instance_for_celery_is_the_roots_but_for_how_runs_are_launched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And Dagster takes it; no task outlives its visibility, whatever a run may take."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:6379/0")
    own = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    scaled = yaml.safe_load((DEPLOY / "celery" / "dagster.yaml").read_text())
    told = process_config(dagster_instance_config_schema(), scaled)
    assert told.success, told.errors
    launcher = scaled.pop("run_launcher")["config"]
    assert process_config(CeleryRunLauncher.config_type(), launcher).success
    own["run_coordinator"]["config"].pop("max_concurrent_runs")
    scaled["run_coordinator"]["config"].pop("max_concurrent_runs")
    assert scaled == own
    transport = launcher["config_source"]["broker_transport_options"]
    assert transport["visibility_timeout"] > own["run_monitoring"]["max_runtime_seconds"]


def test_a_worker_without_the_instance_for_celery_says_so(tmp_path: Path) -> None:
    """In the words of what to do, not in Celery's."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with (
        DagsterInstance.from_config(str(tmp_path)) as instance,
        pytest.raises(ConfigurationError, match="put deploy/celery"),
    ):
        worker_app(instance)
