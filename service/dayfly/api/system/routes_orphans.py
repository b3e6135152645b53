"""/v1/orphans: objects on the engine that no living cluster or template owns. See also controllers/gc.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Query

from dayfly.api.dependencies import Services
from dayfly.domain import engine_resource as domain
from dayfly.errors import InvalidRequest
from dayfly.schemas.system import Orphan, OrphanList

router: Final = APIRouter(prefix="/v1/orphans", tags=["system"])


Limit = Annotated[int, Query(ge=1, le=500, description="Orphans of one page.")]
Cursor = Annotated[
    str | None,
    Query(max_length=1000, pattern=r"^[\x21-\x7e]+$", description="The `next_cursor` of the page before."),
]


@router.get("", operation_id="listOrphans")
async def list_orphans(services: Services, limit: Limit = 100, cursor: Cursor = None) -> OrphanList:
    """List orphans: containers, networks and volumes with this installation's label, without a living owner."""
    page, following = _page(await services.find_orphans(), limit, cursor)
    return _show(page, following)


@router.delete("", operation_id="removeOrphans")
async def remove_orphans(services: Services, limit: Limit = 100, cursor: Cursor = None) -> OrphanList:
    """Remove a page of orphans now; the next page follows by its cursor, and passes over those that could not be.

    Workers remove orphans, too; those without any record of an owner after a grace period.
    """
    page, following = _page(await services.find_orphans(), limit, cursor)
    return _show(await services.remove_orphans(page), following)


def _page(found: Sequence[domain.Orphan], limit: int, cursor: str | None) -> tuple[Sequence[domain.Orphan], str | None]:
    """The orphans after `cursor`, and the cursor of the next page. `found` is in the order of positions."""
    after = _position(cursor) if cursor is not None else None
    rest = [one for one in found if after is None or one.position > after]
    page = rest[:limit]
    if len(page) == len(rest):
        return page, None
    last = page[-1].resource
    return page, f"{last.kind}/{last.name}/{last.id}"


def _position(cursor: str) -> tuple[int, str, str]:
    kind, *names = cursor.split("/")
    if kind not in domain.KINDS or len(names) != 2:
        raise InvalidRequest("cursor: not a cursor of a page; start without a cursor")
    return domain.KINDS.index(kind), names[0], names[1]


def _show(found: Sequence[domain.Orphan], following: str | None) -> OrphanList:
    return OrphanList(
        next_cursor=following,
        orphans=tuple(
            Orphan.of(
                one,
                kind=one.resource.kind,
                name=one.resource.name,
                cluster=one.resource.cluster_id or None,
                template=one.resource.template_id or None,
            )
            for one in found
        ),
    )
