"""/v1/pools. Not here: how pools are filled (controllers/pools/controller.py)."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from dayfly.api.clusters.bounds import check_size
from dayfly.api.clusters.spec_resolver import check_name, resolve_shape
from dayfly.api.dependencies import ApiServices, Services, require_caller
from dayfly.api.etags import DESCRIBED, IfMatch, pool_tag, required, tagged
from dayfly.api.idempotency import KeyHeader, key_of, replayed
from dayfly.api.ownership import owned
from dayfly.api.parameters import path_id
from dayfly.api.pools.presenter import read_schedule, show_pool
from dayfly.api.principals import Caller
from dayfly.domain import pool as domain
from dayfly.domain.security.principal import Reference
from dayfly.schemas.pools import Pool, PoolChangeRequest, PoolList, PoolRequest
from dayfly.store import UNSET, CarriedOut, NewPool, PoolChange

router: Final = APIRouter(prefix="/v1/pools", tags=["pools"])

ThePool = Annotated[Reference, Depends(path_id("pool", "A pool's id or name."))]


@router.post(
    "",
    operation_id="createPool",
    status_code=201,
    responses={
        201: {"headers": {"Location": {"description": "The pool's path.", "schema": {"type": "string"}}}},
    },
)
async def create_pool(
    request: Request,
    wanted: PoolRequest,
    response: Response,
    services: Services,
    caller: Caller,
    idempotency_key: KeyHeader = None,
) -> Pool:
    """Create a pool. A missing template is built first; members follow as the host's resources allow.

    A `POST /v1/clusters` of the pool's shape and owner claims a member, unless the request has `isolation: strict`
    or `ports`: the member gets new keys, goes on, and is ready when that was observed. A member takes resources of the
    host like any cluster.
    """
    wanted = await owned(wanted, caller, services)
    key = key_of(idempotency_key, wanted, caller, wanted.owner)
    try:
        await services.store.idempotency_keys.require_new(key)
        check_name(wanted.name, "pool")
        spec = await services.lookups.bounded(resolve_shape(wanted, services))
        check_size(caller.bounds, spec)
        await require_caller(request)
        new = NewPool(
            name=wanted.name,
            owner=wanted.owner,
            spec=spec,
            size=wanted.size,
            maximum=wanted.maximum,
            schedule=read_schedule(wanted.schedule),
            max_age_seconds=wanted.max_age_seconds,
        )
        made = await services.store.pools.create(new, key)
    except CarriedOut as first:
        made = await replayed(response, services.store.pools.get(str(first.use.resource_id)))
    response.headers["Location"] = f"/v1/pools/{made.id}"
    return await _show(made, services)


@router.get("", operation_id="listPools")
async def list_pools(services: Services, caller: Caller) -> PoolList:
    """List all pools, by name."""
    members, now = await services.store.statistics.count_members(), services.clock.now()
    return PoolList(
        pools=tuple(show_pool(pool, members, now) for pool in await services.store.pools.list(caller.scope))
    )


@router.get("/{pool}", operation_id="getPool", responses={200: {"headers": DESCRIBED}})
async def get_pool(response: Response, services: Services, pool: ThePool) -> Pool:
    """Get a pool, with its number of ready members."""
    found = await services.store.pools.get(pool)
    tagged(response, pool_tag(found))
    return await _show(found, services)


@router.patch("/{pool}", operation_id="changePool", responses={200: {"headers": DESCRIBED}})
async def change_pool(
    wanted: PoolChangeRequest, response: Response, services: Services, pool: ThePool, if_match: IfMatch = None
) -> Pool:
    """Update a pool's size, maximum, schedule or maximum age. Omitted fields keep their values."""
    given = wanted.model_fields_set
    change = PoolChange(
        size=wanted.size if "size" in given else UNSET,
        maximum=wanted.maximum if "maximum" in given else UNSET,
        schedule=read_schedule(wanted.schedule) if "schedule" in given else UNSET,
        max_age_seconds=wanted.max_age_seconds if "max_age_seconds" in given else UNSET,
    )
    changed = await services.store.pools.change(pool, change, required(if_match, pool_tag, "pool"))
    tagged(response, pool_tag(changed))
    return await _show(changed, services)


@router.delete("/{pool}", operation_id="deletePool", status_code=202)
async def delete_pool(services: Services, pool: ThePool) -> Pool:
    """Delete a pool and its members. Claimed clusters stay."""
    found = await services.store.pools.get(pool)
    before = await _show(found, services)
    await services.store.pools.delete(found.id)
    return before


async def _show(pool: domain.Pool, services: ApiServices) -> Pool:
    return show_pool(pool, await services.store.statistics.count_members(), services.clock.now())
