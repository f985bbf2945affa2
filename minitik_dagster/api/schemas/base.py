"""What all bodies share: camelCase names, unknown fields refused, instants in UTC with `Z`."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StrictStr
from pydantic.alias_generators import to_camel

from minitik_dagster.clock import iso_z
from minitik_dagster.errors import FieldProblem

# Ours are 25 characters long; the old system's may be others.
Id = Annotated[StrictStr, Field(max_length=200)]
Instant = Annotated[datetime, PlainSerializer(iso_z, return_type=str)]


class Body(BaseModel):
    """A request's body; a name that is not known is refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=False, extra="forbid", frozen=True
    )


class View(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        frozen=True,
    )


class FieldView(View):
    """A field, what is to be said of it, and the fix."""

    field: str
    message: str
    fix: str

    @classmethod
    def of(cls, problem: FieldProblem) -> Self:
        """Show a problem or a warning."""
        return cls(field=problem.field, message=problem.message, fix=problem.fix)
