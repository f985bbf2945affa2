"""One tree of errors, drawn as it is; each says enough, and none shows a secret."""

import importlib
import inspect
import re

import pytest

from minitik_dagster import errors
from minitik_dagster.errors import (
    ConfigurationError,
    FieldProblem,
    InvalidInputError,
    MinitikError,
    PlatformError,
    RevokedError,
    RuleRefusedError,
    StateConflictError,
    ThrottledError,
    TransientError,
)

CLASSES = {
    name: found
    for name, found in vars(errors).items()
    if inspect.isclass(found) and issubclass(found, MinitikError)
}
OUTCOMES: list[type[PlatformError]] = [
    found
    for found in CLASSES.values()
    if issubclass(found, PlatformError) and found is not PlatformError
]


def _drawn() -> dict[str, str]:
    """Each class of the docstring's tree with its parent, by the depth it is drawn at."""
    parents: list[tuple[int, str]] = []
    tree = {}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([\s│├└─]*)(\w+Error)\b", line)
        if found is None:
            continue
        depth, name = len(found.group(1)), found.group(2)
        while parents and parents[-1][0] >= depth:
            parents.pop()
        tree[name] = parents[-1][1] if parents else "Exception"
        parents.append((depth, name))
    return tree


def test_the_tree_in_the_docstring_is_the_tree_of_the_code() -> None:
    """Every class is drawn, under its parent."""
    code = {
        name: found.__base__.__name__ if found.__base__ else "" for name, found in CLASSES.items()
    }
    assert _drawn() == code


def test_each_outcome_is_its_own_and_the_ledger_takes_it() -> None:
    """`publication_steps.outcome` is constrained in SQL: no class may be missing there."""
    names = [found.outcome for found in OUTCOMES]
    assert len(set(names)) == len(names) == 8
    tables = importlib.import_module("minitik_dagster.db.migrations.versions.0002_additive").TABLES
    (steps,) = [table for table in tables if table.startswith("CREATE TABLE publication_steps")]
    allowed = set(re.findall(r"'(\w+)'", steps.split("outcome TEXT CHECK")[1].split("))")[0]))
    assert set(names) <= allowed


@pytest.mark.parametrize("found", OUTCOMES, ids=lambda found: found.outcome)
def test_a_platforms_answer_keeps_its_code_its_words_and_its_health(
    found: type[PlatformError],
) -> None:
    """Class and health are two columns; the code stands in the text for logs."""
    error = found(
        "the caption is too long", code="invalid_param", request_id="r1", fix="Shorten it.",
        unhealthy=True,
    )  # fmt: skip
    assert str(error) == "the caption is too long (invalid_param)"
    assert (error.reason, error.fix, error.request_id) == (
        "the caption is too long",
        "Shorten it.",
        "r1",
    )
    assert error.unhealthy
    assert not found("x").unhealthy
    assert str(found("x")) == "x"


def test_what_only_some_classes_know_is_unknown_until_it_is_set() -> None:
    """A wait that the platform did not name is None, never zero."""
    assert TransientError("x").retry_after is None
    assert (ThrottledError("x").until, ThrottledError("x").retry_after) == (None, None)
    assert RevokedError("x").expired is False


@pytest.mark.parametrize("found", [InvalidInputError, RuleRefusedError])
def test_a_refused_value_is_told_with_its_field_and_its_fix(
    found: type[InvalidInputError] | type[RuleRefusedError],
) -> None:
    """All of them in one line."""
    error = found(
        FieldProblem("title", "has 101 characters, the limit is 100", "shorten it"),
        FieldProblem("zone", "'Mars' is no zone"),
    )
    assert str(error) == (
        "title: has 101 characters, the limit is 100 - shorten it; zone: 'Mars' is no zone"
    )
    assert [problem.field for problem in error.problems] == ["title", "zone"]


def test_a_bad_environment_is_one_line_and_a_list() -> None:
    error = ConfigurationError(["A is not set", "B: must be a number"])
    assert str(error) == "A is not set; B: must be a number"
    assert error.problems == ("A is not set", "B: must be a number")


def test_a_conflict_says_which_state_forbids_it() -> None:
    assert StateConflictError("already sent", state="live").state == "live"
