"""Checks the machines of waiting pool members: the engine's events tell of containers, not of QEMU's state.

It takes no lease, so that callers can claim members meanwhile. Not here: what follows for a broken member
(controllers/cluster/ready.py).
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from dayfly.concurrency import unwrap_exception_group
from dayfly.controllers.cluster.context import ClusterContext
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.pool import is_waiting
from dayfly.errors import Failure
from dayfly.steps.vm.pause_resume import PAUSED, vm_states

_log = structlog.get_logger(__name__)

_AT_ONCE: Final = 4
"""Members that are checked in parallel: each check runs a command in every container."""


class PoolHealth:
    """Checks all waiting members."""

    def __init__(self, context: ClusterContext) -> None:
        self._context = context

    async def look(self) -> None:
        """Requeue the members whose machines are not paused. Raises EngineUnavailable."""
        store = self._context.store
        members = [
            one for pool in await store.pools.list() for one in await store.pools.members(pool.id) if is_waiting(one)
        ]
        slots = asyncio.Semaphore(_AT_ONCE)
        async with unwrap_exception_group(), asyncio.TaskGroup() as group:
            looks = {member.id: group.create_task(self._is_paused(member, slots)) for member in members}
        await store.maintenance.requeue([member_id for member_id, look in looks.items() if not look.result()])

    async def _is_paused(self, member: Cluster, slots: asyncio.Semaphore) -> bool:
        """Whether every machine of the member is paused."""
        async with slots:
            try:
                found = await vm_states(self._context.drivers, self._context.topology(member), member.id)
            except Failure as error:
                _log.warning("the machines of a pool member do not answer", cluster=member.id, code=error.code)
                return False
        return set(found.values()) == {PAUSED}
