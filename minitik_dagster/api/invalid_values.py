"""What pydantic says of a request, as field, message and fix; pure functions."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from minitik_dagster.errors import FieldProblem

_KINDS: Final = {
    bool: "a boolean",
    str: "a string",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
_SHOWN_CHARACTERS: Final = 60
_PLACES: Final = {"body", "query", "path", "header", "cookie"}


def problems_of(errors: Sequence[Any]) -> list[FieldProblem]:
    """Turn pydantic's error list into ours, in its order."""
    return [_problem(error) for error in errors]


def _problem(error: Mapping[str, Any]) -> FieldProblem:
    kind = str(error["type"])
    location = [str(part) for part in error["loc"]]
    if kind == "json_invalid":
        reason = (error.get("ctx") or {}).get("error", "not JSON")
        where = location[-1] if location[-1].isdigit() else "0"
        return FieldProblem(
            "body", f"is not valid JSON at character {where}: {reason}", "send one JSON object"
        )
    field = ".".join(location[1:] if location[0] in _PLACES else location) or location[0]
    if field == "body" and kind in {"missing", "model_attributes_type", "dict_type", "model_type"}:
        found = "nothing" if kind == "missing" else kind_of(error.get("input"))
        return FieldProblem(
            "body",
            f"must be a JSON object, got {found}",
            "send one JSON object with Content-Type: application/json",
        )
    if kind == "missing":
        return FieldProblem(field, "is missing", f"add {field}")
    if kind == "extra_forbidden":
        return FieldProblem(field, "is not a known field", "remove it, or correct its name")
    wanted = _wanted(str(error["msg"]))
    return FieldProblem(
        field, f"{wanted}, got {_shown(error.get('input'))}", f"{field} {wanted}: correct it"
    )


def _wanted(message: str) -> str:
    """Pydantic's "Input should be …" as "must be …"."""
    for prefix in ("Input should ", "Value should ", "String should ", "List should "):
        if message.startswith(prefix):
            return "must " + message.removeprefix(prefix)
    return message.removeprefix("Value error, ")


def kind_of(value: object) -> str:
    """Name the JSON kind of a value."""
    return _KINDS.get(type(value), "something else")


def _shown(value: object) -> str:
    """Name a value's kind, and the value itself where it is short."""
    kind = kind_of(value)
    if isinstance(value, str) and len(value) <= _SHOWN_CHARACTERS:
        return f"the string {value!r}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"the number {str(value)[:_SHOWN_CHARACTERS]}"
    if isinstance(value, bool):
        return "true" if value else "false"
    return kind if not isinstance(value, list) else f"a list of {len(value)}"
