"""The service itself over HTTP: health, readiness, version, and orphans on its engine. Responses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dayfly.schemas.base import Open, ResponseModel


class Health(ResponseModel):
    status: Open[Literal["ok"]] = "ok"


class Readiness(ResponseModel):
    """What the service depends on, by name; all of it works."""

    status: Open[Literal["ready"]] = "ready"
    checks: dict[str, Open[Literal["ok"]]]


class Version(ResponseModel):
    """The server's release, and the versions of the API that it speaks."""

    version: str
    api: tuple[str, ...]


class Orphan(ResponseModel):
    kind: str = Field(description="`container`, `network` or `volume`.")
    name: str = Field(description="Its name on the engine.")
    cluster: str | None = Field(description="The id of the cluster that it was of.")
    template: str | None = Field(description="The id of the template that it was of.")
    why: str = Field(description="How it is known that nothing owns it.")
    error: str | None = Field(default=None, description="Why it could not be removed; it is still there.")


class OrphanList(ResponseModel):
    orphans: tuple[Orphan, ...]
    next_cursor: str | None = Field(
        default=None, description="Give it as `cursor` for the next page; null on the last one."
    )
