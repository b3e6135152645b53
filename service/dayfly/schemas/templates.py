"""Templates over HTTP: requests and responses."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from dayfly.schemas.base import Id, Open, ResponseModel
from dayfly.schemas.cluster_requests import ShapeRequest
from dayfly.schemas.clusters import ErrorReport, Shape
from dayfly.schemas.json_schemas import NO_SPECS_BEFORE_READY
from dayfly.vocabulary import TemplatePhase


class Parents(ResponseModel):
    """What a template was made from."""

    image: str = Field(description="The image's content id.")
    builder: Id = Field(description="The id of the cluster that was saved.")


class TemplateError(ErrorReport):
    """Why a template failed."""

    cluster: Id | None = Field(
        description="The id of the cluster that failed: the builder, or the fork that verifies the template. Its "
        "evidence and diagnostics are under that id while the deleted cluster is on record."
    )


class Template(Shape):
    """A running cluster, saved once, of which others are forks."""

    id: Id
    owner: str
    phase: Open[TemplatePhase] = Field(
        description="`building`: a cluster is created, and its snapshot taken. `verifying`: its first fork verifies "
        "it. `ready`: it serves forks. `retiring`: it serves no new forks, and is retired when the last of its forks "
        "is deleted. `retired`: only its record is left. `failed`: with an `error`."
    )
    parents: Parents
    created_at: datetime
    ready_at: datetime | None
    last_used_at: datetime | None = Field(description="When the last fork of it was begun.")
    age_seconds: float = Field(description="Since it was asked for.")
    size_bytes: int = Field(
        description="As the disk has it; while it is saved, its size so far, a few seconds old; 0 before."
    )
    uses: int = Field(description="How many forks were ever begun.")
    forks: int = Field(description="How many of them are not deleted.")
    failures: int = Field(description="How many forks failed since the last that did not.")
    error: TemplateError | None


class TemplateList(ResponseModel):
    """Templates, newest first."""

    templates: tuple[Template, ...]


class TemplateRequest(ShapeRequest):
    """A template as a caller asks for it: clusters of this shape and owner will be forks of it."""

    model_config = ConfigDict(json_schema_extra=NO_SPECS_BEFORE_READY)
