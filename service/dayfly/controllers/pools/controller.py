"""Keeps pools filled: creates missing members and removes surplus ones. domain/pool.py decides how many and which.

A member is an ordinary cluster: a worker forks and pauses it (controllers/cluster/reconciler.py). A pool waits for its
template: members that are created from nothing would take the host's processors from callers.
"""

from __future__ import annotations

from typing import Final

import structlog

from dayfly.clock import Clock
from dayfly.controllers.spec_refresh import SpecRefresher
from dayfly.domain.cluster.lifecycle import Desired
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.pool import TEMPLATE_BUILDING, Pool, PoolCondition, pool_condition, surplus_members
from dayfly.errors import DayflyError
from dayfly.settings import Settings
from dayfly.store import Store
from dayfly.vocabulary import TemplatePhase

_log = structlog.get_logger(__name__)

_BATCH_SECONDS: Final = 0.2
"""Batches the changes of many clusters into one look."""


class PoolController:
    """Looks at all pools whenever a cluster, a template or a pool has changed, and periodically.

    Every worker process runs it: the store counts the members again before it adds some, and never removes claimed
    ones.
    """

    def __init__(self, settings: Settings, store: Store, specs: SpecRefresher, clock: Clock) -> None:
        self._settings, self._store, self._specs, self._clock = settings, store, specs, clock

    async def run(self) -> None:
        """Until cancelled."""
        with self._store.watch_queue() as watch:
            while True:
                try:
                    await self.look()
                except DayflyError as error:
                    _log.warning("cannot reconcile pools", code=error.code, reason=error.for_operator)
                await self._clock.sleep(_BATCH_SECONDS)
                await watch.wait(self._settings.poll_seconds)

    async def look(self) -> None:
        """Reconcile every pool. Raises DatabaseUnavailable."""
        await self._store.service_clock.correct()
        for pool in await self._store.pools.list():
            try:
                condition = await self._reconcile(pool)
            except DayflyError as error:
                # A pool without its image must not block the others.
                condition = PoolCondition(error.code, error.message)
            await self._record(pool, condition)

    async def _reconcile(self, pool: Pool) -> PoolCondition | None:
        """Remove surplus members and add missing ones; the reason where the pool cannot be filled."""
        spec, key = await self._specs.now(pool.spec, pool.owner)
        now = self._clock.now()
        members = await self._store.pools.members(pool.id)
        template = await self._store.templates.find(key, pool.owner)
        going = surplus_members(
            pool,
            spec.shape,
            members,
            now,
            retry_seconds=self._settings.pool_retry_seconds,
            renewable=template is not None,
        )
        if going:
            count = await self._store.pools.remove_members(going)
            _log.info("pool members removed", pool=pool.name, count=count)
        if pool.largest == 0:
            return None
        size = pool.desired_size(now)
        staying = [one for one in members if one.id not in going and one.desired is not Desired.ABSENT]
        if template is None:
            awaited = await self._await_template(spec, pool.owner, key)
            return awaited if len(staying) < size else pool_condition(staying, now)
        if len(staying) < size:
            memory_factor = self._settings.fork_memory_overcommit
            count = await self._store.pools.refill(pool.id, size, spec, memory_factor=memory_factor)
            _log.info("pool refilled", pool=pool.name, count=count)
        return pool_condition(staying, now)

    async def _await_template(self, spec: ClusterSpec, owner: str, key: str) -> PoolCondition:
        """Queue the template, unless the last one failed; the condition of the pool meanwhile."""
        for template in await self._store.templates.list(owner=owner):
            if template.key == key and template.fault is not None and template.phase is TemplatePhase.FAILED:
                return PoolCondition(template.fault.code, f"template {template.id} failed: {template.fault.message}")
        template, _ = await self._store.templates.create(spec, owner, key, limited=False)
        return PoolCondition(TEMPLATE_BUILDING, f"template {template.id} is being built")

    async def _record(self, pool: Pool, condition: PoolCondition | None) -> None:
        """Record and log a changed condition."""
        # The store compares, too: a message is kept as one line of bounded length.
        if condition == pool.condition or not await self._store.pools.set_condition(pool.id, condition):
            return
        if condition is None:
            _log.info("pool can be filled again", pool=pool.name)
        else:
            _log.warning("pool cannot be filled", pool=pool.name, code=condition.code, reason=condition.message)
