"""Watches the engine's events: requeues a cluster when one of its containers changes, and all clusters now and then.

Not here: what is wrong with a cluster, and what is done about it (cluster/reconciler.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import structlog

from dayfly import metrics
from dayfly.clock import Clock
from dayfly.concurrency import unwrap_exception_group
from dayfly.controllers.cluster.outages import Outages
from dayfly.controllers.gc import GarbageCollector
from dayfly.controllers.pools.health import PoolHealth
from dayfly.drivers.interfaces import ContainerEngine, EngineEvent
from dayfly.errors import DayflyError, EngineUnavailable
from dayfly.store import Store

_log = structlog.get_logger(__name__)

_HARM: Final = frozenset({"die", "destroy"})
"""Events of the engine: a container ended or was removed."""
_AWAY_SECONDS: Final = 1.0


@dataclass(frozen=True)
class EngineEventWatcher:
    store: Store
    engine: ContainerEngine
    collector: GarbageCollector
    pool_health: PoolHealth
    outages: Outages
    clock: Clock
    survey_seconds: float

    async def run(self) -> None:
        """Until cancelled. An outage of the engine or the database is logged once; then the watch starts again."""
        away = False
        while True:
            try:
                # Subscribe before the first comparison, so that no event is lost.
                events = self.engine.events()
                await self.collector.look()
                await self.outages.wake()
                if away:
                    _log.info("watching the engine again")
                away = False
                await self._watch(events)
            except DayflyError as error:
                metrics.engine_watch_failures.inc()
                if not away:
                    _log.warning("cannot watch the engine", code=error.code, reason=error.for_operator)
                away = True
                await self.clock.sleep(_AWAY_SECONDS)

    async def _watch(self, events: AsyncIterator[EngineEvent]) -> None:
        """Raises EngineUnavailable when the stream of events ends."""
        harmed: set[str] = set()
        news = asyncio.Event()
        async with unwrap_exception_group(), asyncio.TaskGroup() as group:
            group.create_task(self._look_periodically())
            group.create_task(self._requeue_harmed(harmed, news))
            async for event in events:
                metrics.engine_events.inc()
                if event.action in _HARM and event.cluster_id:
                    harmed.add(event.cluster_id)
                    news.set()
            raise EngineUnavailable("the engine's events ended")

    async def _requeue_harmed(self, harmed: set[str], news: asyncio.Event) -> None:
        """Requeue in batches: a deleted cluster causes ten events at once."""
        while True:
            await news.wait()
            news.clear()
            clusters = tuple(harmed)
            harmed.clear()
            await self.store.maintenance.requeue(clusters)

    async def _look_periodically(self) -> None:
        while True:
            # After the subscription: with many members it takes a while.
            with metrics.measured_sweep("pool_health", self.clock):
                await self.pool_health.look()
            await self.clock.sleep(self.survey_seconds)
            await self.collector.look()
