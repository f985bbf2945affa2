"""The house's rules that a linter does not know (docs/concepts.md names the rooms)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "minitik_dagster"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400
ROOT_LINES = 90
COMPOSITION_ROOTS = ("definitions.py", "api/app.py", "cli/main.py")
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
# They make the environment of other processes; production code reads it in settings.py alone.
ENVIRONMENT_IS_THEIRS = ("settings.py", "local/", "cli/environment.py")


def _name(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


def _environment_reads(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}:
            yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            for alias in node.names:
                if alias.name in {"environ", "getenv", "environb"}:
                    yield node.lineno


def test_no_module_is_longer_than_can_be_read_in_one_sitting() -> None:
    long = {
        _name(module): lines
        for module in MODULES
        if (lines := len(module.read_text().splitlines())) > MOST_LINES
    }
    assert not long, f"split these (more than {MOST_LINES} lines): {long}"


@pytest.mark.parametrize("root", COMPOSITION_ROOTS)
def test_a_composition_root_only_wires(root: str) -> None:
    """A root can be read in a minute: the work is done in the rooms it puts together."""
    assert len((PACKAGE / root).read_text().splitlines()) <= ROOT_LINES


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [
        _name(module)
        for module in MODULES
        if VAGUE_NAMES & {part.removesuffix(".py") for part in module.relative_to(PACKAGE).parts}
    ]
    assert not vague


def test_the_environment_is_read_in_settings_alone() -> None:
    """One typed module reads variables, so that all problems are found at once, at start."""
    readers = [
        f"{_name(module)}:{line}"
        for module in MODULES
        if not _name(module).startswith(ENVIRONMENT_IS_THEIRS)
        for line in _environment_reads(ast.parse(module.read_text()))
    ]
    assert not readers


def test_the_check_of_the_environment_sees_every_way_to_read_it() -> None:
    """The rule above would find a reader: it is not green because it is blind."""
    ways = "import os\nos.environ['A']\nos.getenv('A')\nfrom os import environ\n"
    assert sorted(_environment_reads(ast.parse(ways))) == [2, 3, 4]


def test_every_room_has_tests_of_its_own() -> None:
    """tests/ mirrors the package; a room without any test is not finished."""
    tests = Path(__file__).parent
    rooms = {
        path.name
        for path in PACKAGE.iterdir()
        if path.is_dir() and any(m.stat().st_size for m in path.glob("*.py"))
    }
    without = {room for room in rooms if not any((tests / room).rglob("test_*.py"))}
    # Dagster's rooms are thin: test_definitions.py holds them.
    assert without <= {"assets", "jobs", "sensors", "resources"}, without
