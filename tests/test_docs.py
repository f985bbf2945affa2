"""The docs are held to the code: every setting, command, stage, code and page has its entry."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from minitik_dagster import __version__
from minitik_dagster.cli.main import app
from minitik_dagster.db.stages import STATUS_OF, Stage
from minitik_dagster.errors import PlatformError
from minitik_dagster.operations.thresholds import THRESHOLDS
from minitik_dagster.settings import Settings
from tests.error_tables import with_tables

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PACKAGE = ROOT / "minitik_dagster"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def _page(name: str) -> str:
    return (DOCS / name).read_text()


def _rows(page: str) -> dict[str, list[str]]:
    """Table rows by the text of their first cell, when that is code."""
    found = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and cells[0].startswith("`"):
            found[cells[0].strip("`")] = cells[1:]
    return found


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_documented_with_its_default(name: str) -> None:
    rows = _rows(_page("settings.md"))
    assert name.upper() in rows, f"docs/settings.md lacks {name.upper()}"
    default = Settings.model_fields[name].default
    told = rows[name.upper()][0].strip("`")
    if isinstance(default, bool | int | float):
        assert float(told) == default
    elif isinstance(default, tuple):
        assert tuple(float(part) for part in told.split(",")) == default
    elif isinstance(default, str) and default:
        assert told == default
    assert rows[name.upper()][1], f"docs/settings.md says nothing about {name.upper()}"


def test_the_docs_name_no_setting_that_does_not_exist() -> None:
    known = {name.upper() for name in Settings.model_fields}
    assert set(_rows(_page("settings.md"))) == known


def test_the_example_environment_has_every_setting_once_and_sets_no_secret() -> None:
    """.env.example is a form: all names, only harmless defaults."""
    text = (ROOT / ".env.example").read_text()
    pairs = re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE)
    names = [name for name, _ in pairs]
    assert sorted(names) == sorted(name.upper() for name in Settings.model_fields)
    for name, value in pairs:
        annotation = str(Settings.model_fields[name.lower()].annotation)
        assert not ("Secret" in annotation and value), f"{name} holds a value"


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_is_in_the_state_machine_with_its_old_status(stage: Stage) -> None:
    row = _rows(_page("state-machine.md"))[stage.value]
    assert row[0] == STATUS_OF[stage].value
    assert row[1]


def test_the_state_machine_draws_known_stages_only() -> None:
    arrows = re.findall(r"^    (\S+) --> ([^:\s]+)", _page("state-machine.md"), re.MULTILINE)
    drawn = {name for arrow in arrows for name in arrow} - {"[*]"}
    assert drawn <= set(Stage)
    assert len(drawn) >= 10


def _commands(group: object, path: str) -> Iterator[str]:
    children = getattr(group, "commands", None)
    if children is None:
        yield path
        return
    for name, child in children.items():
        yield from _commands(child, f"{path} {name}")


def test_every_command_is_documented() -> None:
    page = _page("cli.md")
    missing = [
        command
        for command in _commands(typer.main.get_command(app), "minitik")
        if f"`{command}" not in page
    ]
    assert not missing, f"docs/cli.md lacks: {missing}"


def test_the_docs_name_no_command_that_does_not_exist() -> None:
    known = set(_commands(typer.main.get_command(app), "minitik"))
    told = set(re.findall(r"^\| `(minitik(?: [a-z][a-z-]*)+)", _page("cli.md"), re.MULTILINE))
    assert told <= known, told - known


def test_the_error_tables_are_what_the_code_says() -> None:
    """Every documented code of a platform has its line: `make docs`."""
    page = _page("errors.md")
    assert page == with_tables(page), "the tables are stale: run make docs"


def _error_codes(tree: ast.AST) -> Iterator[str]:
    """Codes given to errors, and those written into errorCode; a finding's code is no error."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = str(getattr(node.func, "id", "") or getattr(node.func, "attr", ""))
            names = {"errorCode"} | ({"code"} if name.endswith("Error") else set())
            for keyword in node.keywords:
                if keyword.arg in names and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if getattr(target, "attr", "") == "error_code" and node.value.value is not None:
                    yield str(node.value.value)


def test_every_code_of_our_own_is_documented() -> None:
    page = _page("errors.md")
    told = {code for line in page.splitlines() for code in re.findall(r"`([^`]+)`", line)}
    codes = {
        code
        for room in ("publishing", "platforms", "scheduling", "media")
        for module in (PACKAGE / room).rglob("*.py")
        for code in _error_codes(ast.parse(module.read_text()))
        if code != "None"
    }
    assert len(codes) > 10
    assert codes <= told, f"docs/errors.md lacks {sorted(codes - told)}"


def test_every_outcome_of_a_call_is_documented() -> None:
    rows = _rows(_page("errors.md"))
    classes: list[type[PlatformError]] = [PlatformError, *PlatformError.__subclasses__()]
    for cls in classes:
        assert cls.outcome in rows, cls.__name__


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_found_from_the_index() -> None:
    """A page that nothing leads to is read by nobody."""
    index = _page("README.md")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages - set(re.findall(r"\]\(([a-z-]+\.md)\)", index)) == set()


def test_every_make_target_the_docs_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for name in re.findall(r"`make ([a-z-]+)[^`]*`", page.read_text()):
            assert name in targets, f"{page.name}: make {name}"


def test_the_changelog_begins_with_this_version() -> None:
    """Keep a Changelog form; an entry for what is released."""
    page = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", page, re.MULTILINE)
    assert "## [Unreleased]" in page
    assert versions[0] == __version__


def test_the_readme_names_the_two_commands_and_ci_runs_the_second() -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.search(r"^make demo$", readme, re.MULTILINE)
    assert re.search(r"^make test$", readme, re.MULTILINE)
    assert re.search(r"^make test$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


def test_the_markers_that_make_test_leaves_out_are_the_ones_it_names() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    tiers = [marker.partition(":")[0] for marker in config["markers"]]
    makefile = (ROOT / "Makefile").read_text()
    for tier in tiers:
        assert f"not {tier}" in config["addopts"]
        assert re.search(rf"^SLOW_TIERS :=.*\b{tier}\b", makefile, re.MULTILINE)
        assert re.search(rf'echo "make test leaves out.*\b{tier}\b', makefile)


# The runbook's table "External Services", as it stands there.
RUNBOOK_IMPACTS = {
    "PostgreSQL": "Full outage -- all CRUD operations fail",
    "Redis": "Publishing queues stall, rate limiting degrades to allow-all",
    "MongoDB": "Analytics dashboard unavailable, publishing unaffected",
    "AWS S3": "Upload and content serving fails, existing publishes unaffected",
    "TikTok API": "TikTok publishes fail, circuit breaker activates after 5 failures",
    "Instagram API": "Instagram publishes fail, circuit breaker activates after 5 failures",
    "YouTube API": "YouTube publishes fail, circuit breaker activates after 5 failures",
}
OUR_PARTS = {
    "Dagster's daemon",
    "the code server",
    "the webserver",
    "the API",
    "a dispatcher",
    "a Celery worker",
}


def _failure_rows() -> list[list[str]]:
    lines = [line for line in _page("failures.md").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in rows if len(row) > 1 and row[0] != "down"]


def _tests_of(path: str) -> set[str]:
    return {
        node.name
        for file in sorted((ROOT / "tests").glob(path))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_row_of_the_runbooks_failure_table_is_compared_and_so_are_our_own_parts() -> None:
    """Seven rows with the runbook's words, and a row for each part that is ours."""
    rows = _failure_rows()
    assert {row[0]: row[1] for row in rows if len(row) == 6} == RUNBOOK_IMPACTS
    assert {row[0] for row in rows if len(row) == 5} == OUR_PARTS
    assert all(all(row) for row in rows)


def test_every_row_of_the_failure_table_is_shown_by_a_test_that_exists() -> None:
    """And every outage test is named in the table: none is without its row."""
    named = {row[0]: set(re.findall(r"`(test_\w+)`", row[-1])) for row in _failure_rows()}
    assert all(named.values()), named
    told = set().union(*named.values())
    assert told <= _tests_of("**/test_*.py"), told - _tests_of("**/test_*.py")
    outages = _tests_of("publishing/test_outages.py") | _tests_of("acceptance/test_gameday.py")
    assert outages <= told, outages - told


def test_the_alerts_table_has_every_threshold_with_its_numbers() -> None:
    rows = _rows(_page("operations.md"))
    for key, item in THRESHOLDS.items():
        told = [float(cell.replace(",", "")) for cell in rows[key][:2]]
        assert told == [item.warning, item.critical], key
