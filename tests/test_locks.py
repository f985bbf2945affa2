"""The locks: what is installed is what pyproject.toml asks for, by hash, from anywhere."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
LOCKS = {
    "dev.lock": ("local", "dev", "celery", "kubernetes"),
    "run.lock": (),
    "cluster.lock": ("celery", "kubernetes"),
}
SHIPPED = ("run.lock", "cluster.lock")
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;]+)", re.MULTILINE)


def _text(lock: str) -> str:
    return (ROOT / "requirements" / lock).read_text()


def _pins(lock: str) -> dict[str, Version]:
    return {canonicalize_name(name): Version(pin) for name, pin in _PIN.findall(_text(lock))}


def _asked(extras: tuple[str, ...]) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = list(project["dependencies"])
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host_and_no_path(lock: str) -> None:
    """It installs from any registry, and tells nothing of the machine that made it."""
    for number, line in enumerate(_text(lock).splitlines(), 1):
        place = f"{lock}:{number}: {line}"
        assert "://" not in line, place
        assert "file:/" not in line, place
        assert not re.search(r"(^|\s)-(e|i|f|-editable|-index-url|-extra-index-url)\b", line), place
        assert not re.search(r"(^|[\s@])/\w", line), place


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_is_held_by_hashes(lock: str) -> None:
    """`pip --require-hashes` takes the lock as it is."""
    blocks = [b for b in re.split(r"\n(?=[A-Za-z0-9])", _text(lock)) if "==" in b]
    assert len(blocks) == len(_pins(lock)) > 50
    for block in blocks:
        assert "--hash=sha256:" in block, block.splitlines()[0]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_satisfies_what_the_project_asks_for(lock: str) -> None:
    """A change in pyproject.toml without `make lock` shows here, not at someone's desk."""
    pins = _pins(lock)
    for wanted in _asked(LOCKS[lock]):
        name = canonicalize_name(wanted.name)
        assert name in pins, f"{wanted} is not in {lock}: run make lock"
        assert wanted.specifier.contains(pins[name], prereleases=True), (
            f"{lock} pins {name} {pins[name]}, asked is {wanted}: run make lock"
        )


@pytest.mark.parametrize("lock", SHIPPED)
def test_production_runs_the_versions_that_the_tests_run(lock: str) -> None:
    """Each is a part of dev.lock: nothing ships that was not tested."""
    tested = _pins("dev.lock")
    for name, version in _pins(lock).items():
        assert tested.get(name) == version, name


@pytest.mark.parametrize("lock", SHIPPED)
def test_production_installs_no_embedded_server(lock: str) -> None:
    """The extra `local` never reaches a deployment."""
    shipped = _pins(lock)
    for wanted in _asked(("local",)):
        name = canonicalize_name(wanted.name)
        if name not in {canonicalize_name(r.name) for r in _asked(())} | {"psutil", "uvloop"}:
            assert name not in shipped, name
