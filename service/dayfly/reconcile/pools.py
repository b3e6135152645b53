"""Keeps pools filled: makes members where some are missing, dismisses those that are to go. Who that is, and how many
are wanted, stands in domain/pool.py.

A member is a cluster like any other: a worker forks it and pauses it (reconciler.py), the sweeper has it looked at.
Members are forks, so a pool waits for its template: made cold they would take the host's processors from those who ask.
"""

from __future__ import annotations

from typing import Final

import structlog

from dayfly.clock import Clock
from dayfly.domain.lifecycle import Desired
from dayfly.domain.pool import Pool, superfluous
from dayfly.domain.spec import ClusterSpec
from dayfly.domain.template import TemplatePhase
from dayfly.errors import DayflyError
from dayfly.reconcile.shapes import Shapes
from dayfly.settings import Settings
from dayfly.store import Store

_log = structlog.get_logger(__name__)

_BREATH_SECONDS: Final = 0.2
"""Many clusters may come and go in a moment: one look does for all of them."""


class Pools:
    """Looks at all pools whenever a cluster, a template or a pool has changed, and now and then.

    Every worker process does: the store counts members anew where it adds some, and leaves claimed ones alone.
    `memory_factor`: how many times over forks may be promised memory.
    """

    def __init__(
        self,
        store: Store,
        shapes: Shapes,
        clock: Clock,
        *,
        memory_factor: float,
        retry_seconds: float,
        poll_seconds: float,
    ) -> None:
        self._store, self._shapes, self._clock = store, shapes, clock
        self._memory_factor = memory_factor
        self._retry_seconds, self._poll_seconds = retry_seconds, poll_seconds
        self._told: dict[str, str] = {}
        """Why each pool cannot be filled, as the log has it."""

    async def run(self) -> None:
        """Until cancelled."""
        with self._store.watch_queue() as watch:
            while True:
                try:
                    await self.look()
                except DayflyError as error:
                    _log.warning("cannot look after pools", code=error.code, reason=error.message)
                await self._clock.sleep(_BREATH_SECONDS)
                await watch.wait(self._poll_seconds)

    async def look(self) -> None:
        """Tend every pool. Raises DatabaseUnavailable."""
        pools = await self._store.list_pools()
        for pool in pools:
            try:
                self._tell(pool, await self._tend(pool))
            except DayflyError as error:
                # One whose image is gone keeps the others from nothing.
                self._tell(pool, f"{error.code}: {error.message}")
        present = {pool.id for pool in pools}
        self._told = {pool_id: why for pool_id, why in self._told.items() if pool_id in present}

    async def _tend(self, pool: Pool) -> str | None:
        """Dismiss and refill; why it cannot be filled now, if so."""
        spec, key = await self._shapes.now(pool.spec, pool.owner)
        now = self._clock.now()
        members = await self._store.members(pool.id)
        going = superfluous(pool, spec.shape, members, now, retry_seconds=self._retry_seconds)
        if going:
            count = await self._store.dismiss(going)
            _log.info("pool members dismissed", pool=pool.name, count=count)
        if pool.largest == 0:
            return None
        if await self._store.find_template(key, pool.owner) is None:
            return await self._await_template(spec, pool.owner, key)
        wanted = pool.wanted(now)
        staying = [one for one in members if one.id not in going and one.desired is not Desired.ABSENT]
        if len(staying) < wanted:
            count = await self._store.refill(pool.id, wanted, spec, memory_factor=self._memory_factor)
            _log.info("pool refilled", pool=pool.name, count=count)
        return None

    async def _await_template(self, spec: ClusterSpec, owner: str, key: str) -> str:
        """Have it made, unless that failed a while ago; what is waited for."""
        for template in await self._store.list_templates(owner=owner):
            if template.key == key and template.phase is TemplatePhase.FAILED:
                return f"its template {template.id} failed: {template.fault.message if template.fault else 'unknown'}"
        template, _ = await self._store.create_template(spec, owner, key)
        return f"its template {template.id} is being made"

    def _tell(self, pool: Pool, why: str | None) -> None:
        """Log what keeps the pool from being filled: once, and when that is over."""
        if why is None and self._told.pop(pool.id, None) is not None:
            _log.info("pool can be filled again", pool=pool.name)
        elif why is not None and self._told.get(pool.id) != why:
            _log.warning("pool cannot be filled", pool=pool.name, reason=why)
            self._told[pool.id] = why


def pools_of(settings: Settings, store: Store, shapes: Shapes, clock: Clock) -> Pools:
    """The pools' curator of this process."""
    return Pools(
        store,
        shapes,
        clock,
        memory_factor=settings.fork_memory_overcommit,
        retry_seconds=settings.pool_retry_seconds,
        poll_seconds=settings.poll_seconds,
    )
