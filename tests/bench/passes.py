"""The cost of each kind of pass by the number of clusters: milliseconds, statements and rows, and their growth.

In one process, with an engine in memory: only Dayfly and the database are measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from sqlalchemy import event

from dayfly.clock import SystemClock
from dayfly.controllers.cluster.reconciler import Reconciler
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.topology import Publication, compute_topology
from dayfly.domain.scheduling.resources import Resources
from dayfly.store import Claim, NewCluster, Store
from tests.bench import records
from tests.bench.figures import Figures, growth
from tests.support.specs import make_spec
from tests.support.world import World

LEASE_SECONDS = 30
_SETTLE_SECONDS = 1.0
"""A worker that begins looks at everything once."""
Pass = Callable[[], Awaitable[None]]


@dataclass
class Cost:
    """The cost of one pass: median milliseconds, and the statements and rows of its last run."""

    milliseconds: float = 0.0
    statements: int = 0
    rows: int = 0


@dataclass
class Costs:
    """Of each kind of pass: number of clusters → cost."""

    of: dict[str, dict[int, Cost]] = field(default_factory=dict)

    def figures(self) -> Figures:
        flat: Figures = {}
        for name, costs in self.of.items():
            for number, cost in costs.items():
                if cost.milliseconds:
                    flat[f"pass_{name}_{number}_ms"] = cost.milliseconds
                flat[f"pass_{name}_{number}_statements"] = cost.statements
                flat[f"pass_{name}_{number}_rows"] = cost.rows
            if len(costs) > 1 and all(cost.milliseconds for cost in costs.values()):
                flat[f"pass_{name}_growth"] = growth({number: cost.milliseconds for number, cost in costs.items()})
        return flat


async def costs(store: Store, numbers: Sequence[int], rounds: int, idle_seconds: float) -> Figures:
    """Measured with the first of `numbers` ready clusters, then with the next, and so on."""
    world = World(store, clock=SystemClock())  # type: ignore[arg-type]
    found, present = Costs(), 0
    for number in numbers:
        await _add(world, range(present, number))
        present = number
        for name, one in _passes(world).items():
            found.of.setdefault(name, {})[number] = await _measure(store, one, rounds)
        found.of.setdefault("queue_with_no_room", {})[number] = await _full_house(world, number, rounds)
        found.of.setdefault(f"idle_for_{idle_seconds:.0f}_s", {})[number] = await _idle(world, idle_seconds)
    return found.figures()


def _passes(world: World) -> dict[str, Pass]:
    store, reconciler = world.store, world.reconciler()
    admission, collector = world.admission(), world.collector()
    tended = records.cluster(0).id

    async def claim_look() -> None:
        assert await store.leases.claim("bench", lease_seconds=LEASE_SECONDS, limit=1) == ()
        await store.leases.seconds_until_due()

    async def admission_look() -> None:
        assert await admission.look() == ()

    async def survey() -> None:
        await collector.look()

    async def tend() -> None:
        await store.maintenance.requeue([tended])
        await _serve(store, reconciler)

    async def create_and_delete() -> None:
        spec = make_spec(workers=1, readiness="booted")
        made, _ = await store.clusters.create(NewCluster(None, spec))
        assert await admission.look() == (made.id,)
        await _serve(store, reconciler)
        assert (await store.clusters.get(made.id)).phase is Phase.READY
        await store.lifecycle.delete(made.id)
        await _serve(store, reconciler)

    return {
        "claim_look": claim_look,
        "admission_look": admission_look,
        "survey": survey,
        "tend": tend,
        "create_and_delete": create_and_delete,
    }


async def _serve(store: Store, reconciler: Reconciler) -> None:
    """Claim the only due cluster, as a worker does."""
    claim: Claim
    (claim,) = await store.leases.claim("bench", lease_seconds=LEASE_SECONDS, limit=1)
    outcome = await reconciler.reconcile(claim)
    await store.leases.release(claim, due_in_seconds=outcome.seconds)


async def _add(world: World, numbers: range) -> None:
    """Ready clusters, with all their containers on the engine."""
    clusters = [records.cluster(number) for number in numbers]
    await records.write(world.store, clusters)
    for one in clusters:
        made = compute_topology(
            one.id, one.spec, instance=world.engine.instance, accelerator="kvm", publication=Publication()
        )
        for container in (made.net, made.registry, *made.nodes):
            await world.engine.ensure(container)


async def _full_house(world: World, number: int, rounds: int) -> Cost:
    """A look at a queue of `number` clusters of many owners for whom there is no room."""
    waiting = [records.cluster(10**6 + i, Phase.PENDING) for i in range(number)]
    await records.write(world.store, waiting)
    admission = world.admission()
    offered, world.offered = world.offered, Resources()

    async def look() -> None:
        assert await admission.look() == ()

    cost = await _measure(world.store, look, rounds)
    world.offered = offered
    await records.erase(world.store, waiting)
    return cost


async def _idle(world: World, seconds: float) -> Cost:
    """All loops of a worker process at rest: statements and rows only, for its time is what it is."""
    cost = Cost()
    async with world.working():
        await asyncio.sleep(min(seconds, _SETTLE_SECONDS))
        with _counting(world.store, cost):
            await asyncio.sleep(seconds)
    return cost


async def _measure(store: Store, one: Pass, rounds: int) -> Cost:
    await one()
    taken, cost = [], Cost()
    for _ in range(rounds):
        cost = Cost()
        with _counting(store, cost):
            began = time.perf_counter()
            await one()
            taken.append(time.perf_counter() - began)
    cost.milliseconds = 1000 * median(taken)
    return cost


@contextmanager
def _counting(store: Store, cost: Cost) -> Iterator[None]:
    """Count what goes to the database and comes from it."""
    engine = store._database._engine.sync_engine

    def executed(connection: Any, cursor: Any, *_: Any) -> None:
        cost.statements += 1
        cost.rows += len(getattr(cursor, "_rows", ()))

    event.listen(engine, "after_cursor_execute", executed)
    try:
        yield
    finally:
        event.remove(engine, "after_cursor_execute", executed)
