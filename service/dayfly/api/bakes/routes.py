"""POST /v1/images, which requests a bake, and /v1/bakes. A builder (controllers/bakes/) carries bakes out.

Not here: the images themselves.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from dayfly.api.bakes.presenter import Records, show_bake, show_summary
from dayfly.api.dependencies import ApiServices, Services, require_caller
from dayfly.api.idempotency import KeyHeader, key_of, replayed
from dayfly.api.long_poll import MAX_SECONDS, hold
from dayfly.api.ownership import owned
from dayfly.api.parameters import Timeout
from dayfly.api.principals import Caller
from dayfly.domain import bake as domain
from dayfly.errors import BakesOff, NotFound
from dayfly.schemas.bakes import (
    MAX_RECIPE,
    RECIPE,
    Bake,
    BakeEvent,
    BakeEventList,
    BakeList,
    BakeRequest,
)
from dayfly.schemas.cluster_requests import MAX_OWNER, OWNER
from dayfly.store import CarriedOut
from dayfly.vocabulary import BakePhase, BakeWait

router: Final = APIRouter(tags=["bakes"])

_ID: Final = re.compile(r"[a-z0-9]{1,40}")
_MAX_ID: Final = 2**63 - 1


async def _bake(
    services: Services, caller: Caller, bake: Annotated[str, Path(description="A bake's id.")]
) -> domain.Bake:
    if not _ID.fullmatch(bake):
        raise NotFound("no bake has this id: it is not a valid id")
    return await services.store.bakes.get(bake, caller.scope)


async def _show(services: ApiServices, bake: domain.Bake) -> Bake:
    return show_bake(bake, await _records(services, bake))


async def _records(services: ApiServices, *bakes: domain.Bake) -> Records:
    return await services.store.images.records_of({bake.image.id for bake in bakes if bake.image is not None})


TheBake = Annotated[domain.Bake, Depends(_bake)]


@router.post(
    "/v1/images",
    operation_id="createBake",
    status_code=202,
    responses={
        202: {
            "description": "Accepted: a bake is queued.",
            "headers": {"Location": {"description": "The bake's path.", "schema": {"type": "string"}}},
        },
    },
)
async def create_bake(
    request: Request,
    wanted: BakeRequest,
    response: Response,
    services: Services,
    caller: Caller,
    idempotency_key: KeyHeader = None,
) -> Bake:
    """Request a node image: a bake of a recipe. Wait with `GET /v1/bakes/{bake}?wait=ended`.

    The image is built, verified by a cluster of one node, and then gets the names `dayfly/RECIPE:latest` and
    `dayfly/RECIPE:DIGEST`; with variables that change the recipe's values, the second alone. An image with the same
    inputs is not built again; a retired one gets the names, and stays retired until it is promoted. 409 `bakes_off`
    where the server bakes no images over HTTP (`DAYFLY_BAKES`).
    """
    wanted = await owned(wanted, caller, services)
    key = key_of(idempotency_key, wanted, caller, wanted.owner)
    try:
        await services.store.idempotency_keys.require_new(key)
        order = _order(wanted, services)
        await services.check_bake(order)
        await require_caller(request)
        made = await services.store.bakes.create(order, wanted.owner, key)
    except CarriedOut as first:
        made = await replayed(response, services.store.bakes.get(str(first.use.resource_id)))
    response.headers["Location"] = f"/v1/bakes/{made.id}"
    return await _show(services, made)


def _order(wanted: BakeRequest, services: ApiServices) -> domain.BakeOrder:
    if services.settings.bakes == "off":
        raise BakesOff("this server bakes no images over HTTP: its operator sets DAYFLY_BAKES")
    specs = wanted.conformance if wanted.readiness == "conformance" else None
    if wanted.definition is not None:
        name = str(wanted.definition.get("name", ""))
        return domain.BakeOrder(name, definition=wanted.definition, conformance=specs)
    return domain.BakeOrder(wanted.recipe or "", variables=wanted.variables, conformance=specs)


@router.get(
    "/v1/bakes",
    operation_id="listBakes",
    responses={
        200: {
            "headers": {"Link": {"description": 'The next page, rel="next".', "schema": {"type": "string"}}},
        }
    },
)
async def list_bakes(
    request: Request,
    response: Response,
    services: Services,
    caller: Caller,
    phase: Annotated[
        list[BakePhase], Query(max_length=len(BakePhase), description="Any of the given phases. Default: all.")
    ] = [],  # noqa: B006
    recipe: Annotated[str | None, Query(max_length=MAX_RECIPE, pattern=RECIPE, description="Of this recipe.")] = None,
    owner: Annotated[str | None, Query(max_length=MAX_OWNER, pattern=OWNER, description="Of this owner.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[str | None, Query(max_length=200, pattern=r"^[\x21-\x7e]+$")] = None,
) -> BakeList:
    """List bakes, newest first."""
    page = await services.store.bakes.list(
        phases=phase, recipe=recipe, owner=owner, scope=caller.scope, limit=limit, cursor=cursor
    )
    if page.next_cursor is not None:
        following = request.url.include_query_params(cursor=page.next_cursor)
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    records = await _records(services, *page.bakes)
    return BakeList(bakes=tuple(show_summary(one, records) for one in page.bakes), next_cursor=page.next_cursor)


@router.get("/v1/bakes/{bake}", operation_id="getBake")
async def get_bake(
    request: Request,
    services: Services,
    bake: TheBake,
    wait: Annotated[
        BakeWait | None,
        Query(description="`ended`: hold the response until the bake succeeded, failed or is cancelled."),
    ] = None,
    timeout_seconds: Timeout = 300.0,
) -> Bake:
    """Get a bake, at once or when it has ended."""
    if wait is None:
        return await _show(services, bake)

    async def look() -> domain.Bake:
        return await services.store.bakes.get(bake.id)

    return await _show(services, await hold(request, services, bake.id, look, _has_ended, timeout_seconds))


@router.get("/v1/bakes/{bake}/events", operation_id="listBakeEvents")
async def list_bake_events(
    request: Request,
    services: Services,
    bake: TheBake,
    after: Annotated[int, Query(ge=0, le=_MAX_ID, description="Only events with a greater id.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
    wait: Annotated[
        float,
        Query(ge=0, le=MAX_SECONDS, allow_inf_nan=False, description="Seconds to wait for an event if there is none."),
    ] = 0.0,
) -> BakeEventList:
    """List the log of a bake, oldest first. To follow, repeat with `after` = `next_after` and a `wait`."""

    async def look() -> tuple[domain.Bake, tuple[domain.BakeEvent, ...]]:
        # The bake first: if it has ended, the second read includes its last event.
        current = await services.store.bakes.get(bake.id)
        return current, await services.store.bakes.events(bake.id, after=after, limit=limit)

    def enough(seen: tuple[domain.Bake, tuple[domain.BakeEvent, ...]]) -> bool:
        return bool(seen[1]) or _has_ended(seen[0])

    current, events = await hold(request, services, bake.id, look, enough, wait)
    return BakeEventList(
        events=tuple(map(BakeEvent.of, events)),
        next_after=events[-1].id if events else after,
        phase=current.phase,
    )


@router.delete(
    "/v1/bakes/{bake}",
    operation_id="cancelBake",
    status_code=202,
    responses={200: {"description": "It has ended; a queued bake is cancelled at once.", "model": Bake}},
)
async def cancel_bake(services: Services, response: Response, bake: TheBake) -> Bake:
    """Cancel a bake. May be repeated. A running bake's builder ends its processes and removes what is unfinished.

    An image that has its names already keeps them: where the request comes just then, of a bake that is `cancelled`.
    """
    now = await services.store.bakes.cancel(bake.id)
    if _has_ended(now):
        response.status_code = 200
    return await _show(services, now)


def _has_ended(bake: domain.Bake) -> bool:
    return bake.phase in domain.ENDED
