"""The OpenAPI document: what a generated client needs, held to the running application."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

from minitik_dagster.api.app import create_app
from minitik_dagster.api.examples import EXAMPLES
from minitik_dagster.api.links import LINKS
from minitik_dagster.api.problems import PROBLEM_TYPES, problem_type_of
from minitik_dagster.errors import MinitikError
from minitik_dagster.settings import Settings

OPEN = {
    "read_health",
    "read_readiness",
    "send_magic_link",
    "verify_magic_link",
    "finish_connection",
    "receive_tiktok_event",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document as it is served."""
    with TestClient(create_app(Settings()), base_url="http://127.0.0.1") as client:
        served: dict[str, Any] = client.get("/openapi.json").json()
    return served


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def test_every_operation_has_an_id_of_its_own_and_a_summary(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for operation in _operations(document)]
    assert len(ids) == len(set(ids))
    assert all(operation["description"] for operation in _operations(document))


def test_every_operation_but_the_open_ones_asks_for_credentials_and_documents_401(
    document: dict[str, Any],
) -> None:
    schemes = document["components"]["securitySchemes"]
    assert set(schemes) == {"apiKey", "session"}
    assert (schemes["apiKey"]["type"], schemes["apiKey"]["scheme"]) == ("http", "bearer")
    assert (schemes["session"]["type"], schemes["session"]["in"]) == ("apiKey", "cookie")
    for operation in _operations(document):
        if operation["operationId"] in OPEN:
            continue
        assert operation["security"], operation["operationId"]
        assert "401" in operation["responses"], operation["operationId"]


def test_problems_are_documented_and_invalid_values_are_400(document: dict[str, Any]) -> None:
    """FastAPI's own 422 is nowhere; a 422 stands only where a rule may refuse."""
    assert "Problem" in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for operation in _operations(document):
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert set(answer["content"]) == {"application/problem+json"}, operation


def _unbounded(
    schema: dict[str, Any], schemas: dict[str, Any], where: str, seen: tuple[str, ...] = ()
) -> Iterator[str]:
    """Texts and lists without a limit, and objects that take unknown names."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        if name not in seen:
            yield from _unbounded(schemas[name], schemas, where, (*seen, name))
        return
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _unbounded(part, schemas, where, seen)
    kind = schema.get("type")
    if kind == "string" and not {"maxLength", "enum", "const", "format", "pattern"} & set(schema):
        yield where
    if kind == "array":
        if "maxItems" not in schema:
            yield where
        yield from _unbounded(schema["items"], schemas, f"{where}[]", seen)
    if kind == "object":
        if schema.get("additionalProperties", True) is not False:
            yield where
        for name, value in schema.get("properties", {}).items():
            yield from _unbounded(value, schemas, f"{where}.{name}", seen)


def test_every_text_and_list_of_a_body_has_a_limit_and_unknown_names_are_refused(
    document: dict[str, Any],
) -> None:
    """Save what is judged by the domain, which names its own limits."""
    judged = {
        "title", "filename", "mimeType", "description", "etag",  # media/new_upload.py, media/parts.py
        "options",  # platforms/options.py
    }  # fmt: skip
    found = set()
    for path, operations in document["paths"].items():
        if path == "/api/webhooks/tiktok":
            continue  # TikTok writes it, and signs it
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            for body in (content[kind] for kind in content if kind == "application/json"):
                schemas = document["components"]["schemas"]
                for where in _unbounded(body["schema"], schemas, f"{method} {path} "):
                    if where.rpartition(".")[2] not in judged:
                        found.add(where)
    assert not found


def test_every_error_of_ours_has_a_row_in_the_table() -> None:
    """A new class of error is not told as an accident (500)."""

    def leaves(cls: type[MinitikError]) -> list[type[MinitikError]]:
        below = [leaf for child in cls.__subclasses__() for leaf in leaves(child)]
        return below or [cls]

    slugs = [kind.slug for kind in PROBLEM_TYPES]
    assert len(slugs) == len(set(slugs))
    for cls in leaves(MinitikError):
        if not cls.__module__.startswith(("minitik_dagster.errors", "minitik_dagster.api")):
            continue  # the rooms' own ones are the engine's and the local stack's
        assert problem_type_of(cls.__new__(cls)).status != 500, cls


def test_every_type_of_problem_has_its_line_in_the_docs() -> None:
    """docs/problems.md is what `type` points to."""
    page = (Path(__file__).parents[2] / "docs" / "problems.md").read_text()
    told = re.findall(r"^\| `/problems/([a-z-]+)` \| (\d{3}) \|", page, re.MULTILINE)
    assert told == [(kind.slug, str(kind.status)) for kind in PROBLEM_TYPES]


def test_links_lead_to_operations_and_fill_their_paths(document: dict[str, Any]) -> None:
    """Each link of the table stands in the document, and names parameters that its target has."""
    operations = {one["operationId"]: one for one in _operations(document)}
    for source, following in LINKS.items():
        answers = operations[source]["responses"]
        [links] = [answer["links"] for answer in answers.values() if "links" in answer]
        assert set(links) == set(following)
        for link in links.values():
            names = {one["name"] for one in operations[link["operationId"]]["parameters"]}
            assert set(link["parameters"]) <= names


def test_every_json_body_has_an_example_that_its_schema_takes(document: dict[str, Any]) -> None:
    """By jsonschema, references resolved in the document itself."""
    missing = set(EXAMPLES)
    for operation in _operations(document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body is None:
            continue
        name = operation["operationId"].partition("_alias")[0]
        assert "example" in body or "examples" in body, f"{name}: add one to api/examples.py"
        if "example" in body:
            missing.discard(name)
            schema = {**body["schema"], "components": document["components"]}
            Draft202012Validator(schema).validate(body["example"])
    assert not missing, "no operation has this name"
