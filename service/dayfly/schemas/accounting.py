"""Usage of resources, and the audit log, over HTTP. Responses."""

from __future__ import annotations

import datetime
from typing import Final

from pydantic import Field

from dayfly.schemas.base import ResponseModel

LABEL_BY: Final = "label:"
"""What a label's key follows in the parameter `by`."""
BY: Final = r"^(team|principal|day|label:[A-Za-z0-9][A-Za-z0-9._/-]{0,62})$"
"""By what usage is added up."""
MAX_BY: Final = 8


class UsageAmount(ResponseModel):
    """Reserved resources, each multiplied by the seconds that it was reserved. Exact: the parts add up to the sum."""

    vcpu_seconds: int
    memory_gib_seconds: float = Field(description="A multiple of 1/1024.")
    disk_gib_seconds: int


class UsageRow(UsageAmount):
    """One group. A field by which usage is not added up is null."""

    team: str | None
    principal: str | None = Field(
        description="Who created or claimed the clusters; `pool:ID` of members of a pool that no caller has claimed, "
        "`template:ID` of clusters that build or verify a template."
    )
    labels: dict[str, str | None] = Field(
        description="The labels by which usage is added up; null: the clusters did not have the label."
    )
    day: datetime.date | None = Field(description="In UTC.")


class UsageList(ResponseModel):
    since: datetime.datetime = Field(description="A whole second, as `until`.")
    until: datetime.datetime = Field(description="Clusters that run are counted until then, or until now.")
    usage: tuple[UsageRow, ...] = Field(description="Ordered by day, team, principal and labels.")
    total: UsageAmount = Field(description="Of all groups, those of other pages included.")
    next_cursor: str | None = Field(
        default=None, description="Give it as `cursor`, with the same parameters, for the next page; null on the last."
    )


class AuditTarget(ResponseModel):
    kind: str = Field(description="`cluster`, `template`, `pool`, `bake`, `image`, …")
    id: str | None
    name: str | None


class AuditEntry(ResponseModel):
    """A request that may have changed something, or that read a secret."""

    id: int
    at: datetime.datetime
    principal: str = Field(description="Who: a token, a person, a service account.")
    team: str | None = Field(description="The principal's; null: the request proved no principal.")
    role: str | None
    address: str = Field(description="The peer's address; `unix` of a unix socket.")
    request_id: str = Field(description="As in the header X-Request-Id and in the server's log.")
    operation: str | None = Field(description="The operationId; null: no operation has the request's path and method.")
    target: AuditTarget | None = Field(description="What the request is about, as far as it is known.")
    status: int | None = Field(description="The HTTP status; null: no answer was sent.")
    code: str | None = Field(description="The code of the problem; `unanswered` without an answer.")


class AuditList(ResponseModel):
    entries: tuple[AuditEntry, ...]
    next_cursor: str | None = Field(
        default=None, description="Give it as `cursor` for the next page; null on the last one."
    )
