"""GET /v1/status: the whole installation at a glance. A bounded number of queries, whatever the number of clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog
from fastapi import APIRouter

from dayfly import __version__
from dayfly.api.dependencies import ApiServices, Services
from dayfly.api.principals import Caller
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.scheduling.resources import Resources
from dayfly.domain.security.principal import Scope
from dayfly.errors import DayflyError
from dayfly.schemas.status import (
    Capacity,
    EngineStatus,
    HostStatus,
    OwnerStatus,
    PoolStatus,
    QueueStatus,
    Status,
)
from dayfly.store import Usage

router: Final = APIRouter(prefix="/v1/status", tags=["system"])

_UNKNOWN: Final = dict.fromkeys(EngineStatus.model_fields)
_log = structlog.get_logger(__name__)


@router.get("", operation_id="getStatus")
async def get_status(services: Services, caller: Caller) -> Status:
    """The host's capacity and its use by owner, the queue, pools, templates, and the engine, asked now.

    Clusters, owners, the queue, pools and templates are those of the caller's team, for an operator those of all.
    """
    statistics, scope = services.store.statistics, caller.scope
    everything, held = await statistics.usage(), await services.store.admission.held()
    usage = [one for one in everything if scope.includes(one.owner)]
    callers = [one for one in usage if one.purpose is Purpose.CLUSTER]
    return Status(
        version=__version__,
        instance=services.settings.instance,
        host=await _host(services, held.in_use),
        clusters={
            phase.value: sum(one.clusters for one in callers if one.phase is phase)
            for phase in Phase
            if phase is not Phase.DELETED
        },
        owners=tuple(
            _owner(name, callers, held.held.get(name, Resources()))
            for name in sorted({one.owner for one in callers} | set(filter(scope.includes, held.held)))
        ),
        queue=QueueStatus(
            waiting=sum(one.waiting for one in usage),
            oldest_at=min((one.waiting_since for one in usage if one.waiting_since is not None), default=None),
        ),
        pools=await _pools(services, scope),
        templates={phase.value: number for phase, number in (await statistics.count_templates(scope)).items()},
        engine=await _engine(services),
        registry_caches=tuple(cache.name for cache in services.settings.caches),
    )


async def _host(services: ApiServices, reserved: Resources) -> HostStatus:
    capacity = await services.lookups.known(services.host_capacity())
    return HostStatus(
        capacity=Capacity.of(capacity) if capacity else None,
        offered=Capacity.of(services.rules.offered(capacity)) if capacity else None,
        reserved=Capacity.of(reserved),
    )


def _owner(name: str, callers: Sequence[Usage], reserved: Resources) -> OwnerStatus:
    own = [one for one in callers if one.owner == name]
    return OwnerStatus(
        owner=name,
        clusters=sum(one.clusters for one in own),
        waiting=sum(one.waiting for one in own),
        reserved=Capacity.of(reserved),
    )


async def _pools(services: ApiServices, scope: Scope) -> tuple[PoolStatus, ...]:
    counted, now = await services.store.statistics.count_members(), services.clock.now()
    return tuple(
        PoolStatus.of(
            pool,
            desired_size=pool.desired_size(now),
            ready=counted.get((pool.id, "ready"), 0),
            provisioning=counted.get((pool.id, "provisioning"), 0),
            condition=pool.condition and pool.condition.message,
        )
        for pool in await services.store.pools.list(scope)
    )


async def _engine(services: ApiServices) -> EngineStatus:
    try:
        found = await services.lookups.bounded(services.engine_versions())
    except DayflyError as error:
        _log.info("the engine is not known for a status", code=error.code, reason=error.for_operator)
        # The engine's own words are in the log: this answer is for anybody.
        return EngineStatus(**{**_UNKNOWN, "error": f"the engine did not answer ({error.code})"})
    return EngineStatus(**found, error=None)
