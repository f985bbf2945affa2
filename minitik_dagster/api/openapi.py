"""The OpenAPI document: operation ids, bearer security, and the problems each operation may answer."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from minitik_dagster.api.examples import add_examples
from minitik_dagster.api.links import add_links
from minitik_dagster.api.problems import MEDIA_TYPE, PROBLEM_TYPES


class ProblemField(BaseModel):
    """One bad value: the field, what is wrong with it, and the fix."""

    field: str
    message: str
    fix: str


class Problem(BaseModel):
    """An error answer, as RFC 9457 tells."""

    type: str = Field(examples=[f"/problems/{kind.slug}" for kind in PROBLEM_TYPES])
    title: str
    status: int
    detail: str
    instance: str
    errors: list[ProblemField]
    error: str = Field(description="the detail again, as the old system named it")
    requestId: str
    state: str | None = Field(None, description="the present state (409)")
    code: str | None = Field(None, description="why an account was not connected (422)")
    nextAllowedAt: str | None = Field(None, description="when it may be tried again (429)")
    dependency: str | None = Field(None, description="the server that does not answer (503)")


_PROBLEM_REF: Final = {"$ref": "#/components/schemas/Problem"}
_COMMON: Final = (400, 401, 403, 429, 500, 503)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses` of a route: the problems of every route, and these."""
    texts: dict[int, list[str]] = {}
    for kind in PROBLEM_TYPES:
        texts.setdefault(kind.status, []).append(f"{kind.title} (`/problems/{kind.slug}`)")
    return {
        status: {
            "description": "; ".join(texts[status]),
            "content": {MEDIA_TYPE: {"schema": _PROBLEM_REF}},
        }
        for status in sorted({*_COMMON, *statuses})
    }


def name_operations(routers: Iterable[APIRouter]) -> None:
    """Name each operation by its function, clients are generated with these names.

    Further paths of one function get `_alias1`, `_alias2`: ids are unique in a document.
    """
    seen: dict[str, int] = {}
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                count = seen[route.name] = seen.get(route.name, -1) + 1
                route.operation_id = f"{route.name}_alias{count}" if count else route.name


def install_openapi(app: FastAPI, sent: APIRouter, also: Iterable[type[BaseModel]] = ()) -> None:
    """Make `app.openapi()` build our document once.

    `sent` are the messages that webhooks are sent (the document's `webhooks`), `also` further models.
    """

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, sent, also)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI documents this as the way


def _document(app: FastAPI, sent: APIRouter, also: Iterable[type[BaseModel]]) -> dict[str, Any]:
    built = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        webhooks=sent.routes,
    )
    schemas = built.setdefault("components", {}).setdefault("schemas", {})
    template = "#/components/schemas/{model}"
    models: tuple[type[BaseModel], ...] = (Problem, *also)
    for model in models:
        schema = model.model_json_schema(ref_template=template)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    for path in (*built["paths"].values(), *built["webhooks"].values()):
        for operation in path.values():
            _drop_fastapi_422(operation)
            add_links(operation)
            add_examples(operation)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return built


def _drop_fastapi_422(operation: Mapping[str, Any]) -> None:
    """Invalid values are 400 here; a 422 is documented only where a rule may refuse."""
    answer = operation["responses"].get("422")
    if answer and "application/json" in answer.get("content", {}):
        del operation["responses"]["422"]
