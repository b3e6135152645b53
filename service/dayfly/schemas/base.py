"""The two bases of what goes over HTTP, requests and responses, and enums that are open to values of a newer server.

Requests are strict: the server refuses what it does not know. Responses are tolerant: the client reads those of a newer
server, and of an older one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

E = TypeVar("E")

CLUSTER_HEADER: Final = "Dayfly-Cluster"
"""The header of a response about a part of a cluster: the cluster's id and its name, with a space between."""

FROM_SERVER: Final = {"from_server": True}
"""The validation context of a client that reads a response: fields that an older server does not send are filled."""


class RequestModel(BaseModel):
    """Nothing is guessed, nothing ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _read_integers(cls, given: Any) -> Any:
        return whole_numbers(given) if isinstance(given, dict) else given


def whole_numbers(values: dict[str, Any]) -> dict[str, Any]:
    """With an int for each float that has no fraction: in JSON, 2.0 is an integer (as in JSON Schema)."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in values.items()
    }


class ChangeRequestModel(RequestModel):
    """Fields to change; at least one is given."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            *names, last = type(self).model_fields
            raise ValueError(f"nothing to change: give at least one of {', '.join(names)} and {last}")
        return self


class ResponseModel(BaseModel):
    """All fields are required of the server; a client ignores those that it does not know."""

    model_config = ConfigDict(frozen=True)

    absent_means: ClassVar[Mapping[str, object]] = {}
    """Fields that older servers do not send, and what their absence means. Fields that may be null are null then."""

    @classmethod
    def of(cls, source: object, **own: object) -> Self:
        """The response with every attribute of `source` that has a field's name, and with `own`, which go before."""
        same = {name: getattr(source, name) for name in cls.model_fields if name not in own and hasattr(source, name)}
        return cls.model_validate(same | own, from_attributes=True)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any, info: ValidationInfo) -> Any:
        if info.context is not FROM_SERVER or not isinstance(given, dict):
            return given
        nullable = [name for name, field in cls.model_fields.items() if type(None) in get_args(field.annotation)]
        return {**dict.fromkeys(nullable), **cls.absent_means, **given}


def _shaped(pattern: str) -> AfterValidator:
    """Checks what a server sends; a server presents its rows as they are."""
    shape = re.compile(pattern)

    def check(value: str, info: ValidationInfo) -> str:
        if info.context is FROM_SERVER and not shape.fullmatch(value):
            raise ValueError("a server of Dayfly does not send this")
        return value

    return AfterValidator(check)


Id = Annotated[str, _shaped(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")]
"""An id or a name. Hints print it as part of a command to copy: it has nothing that a shell reads, and is no option."""
Code = Annotated[str, _shaped(r"[a-z][a-z0-9_]{0,63}")]
"""The code of an error or a condition."""


def _known_or_text(given: Any, known: ValidatorFunctionWrapHandler) -> Any:
    try:
        return known(given)
    except ValidationError:
        if isinstance(given, str):
            return given
        raise


class OpenEnum:
    """Reads a known value as such and any other as text; the JSON schema lists the known ones."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        known = handler.generate_schema(get_args(source)[0])
        as_it_is = core_schema.simple_ser_schema("any")
        return core_schema.no_info_wrap_validator_function(_known_or_text, known, serialization=as_it_is)


Open = Annotated[E | str, OpenEnum()]
"""`Open[Phase]`: a value of an enum or a Literal in a response, to which a newer server may add values."""
