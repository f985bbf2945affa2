"""Bodies that come as JSON from programs and as a form from our own pages."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

T = TypeVar("T", bound=BaseModel)
FORM: Final = "application/x-www-form-urlencoded"
_MOST_BYTES: Final = 16_384
_MOST_FIELDS: Final = 16


def is_form(request: Request) -> bool:
    """Whether the body is a form: then the answer is a page."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM


def form_or_json(model: type[T], *, optional: bool = False) -> Callable[[Request], Awaitable[T]]:
    """Return a dependency that reads the body; no body is an empty object where `optional`.

    Raises RequestValidationError (400) as FastAPI does for a body it reads itself.
    """

    async def read(request: Request) -> T:
        raw = b""
        async for piece in request.stream():
            raw += piece
            if len(raw) > _MOST_BYTES:
                raise _invalid("value_error", f"has more than {_MOST_BYTES} bytes")
        given: Any
        try:
            if is_form(request):
                given = dict(parse_qsl(raw.decode(), max_num_fields=_MOST_FIELDS))
            else:
                given = json.loads(raw) if raw.strip() or not optional else {}
        except ValueError:
            raise _invalid("json_invalid", "is not JSON text") from None
        try:
            return model.model_validate(given)
        except ValidationError as error:
            raise RequestValidationError(
                [
                    {**item, "loc": ("body", *item["loc"])}
                    for item in error.errors(include_url=False, include_context=False)
                ]
            ) from None

    return read


def body_schema(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Return `openapi_extra` of a route that reads such a body."""
    schema = model.model_json_schema()
    content = {kind: {"schema": schema} for kind in ("application/json", FORM)}
    return {"requestBody": {"required": required, "content": content}}


def _invalid(kind: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": kind, "loc": ("body",), "msg": message, "input": None}])
