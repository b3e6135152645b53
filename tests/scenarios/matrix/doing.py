"""Performs each deed of a schedule on a stage. Not here: when (stage.py), and processes' deaths (tests/support)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import singledispatch
from typing import Final

from dayfly import errors
from dayfly.domain.cluster.model import Hold
from dayfly.domain.cluster.naming import LABEL_CLUSTER, LABEL_INSTANCE
from dayfly.domain.cluster.spec import VmsUnderHold
from dayfly.store import Change, NewCluster
from tests.scenarios.matrix import schedule as deeds
from tests.scenarios.matrix.schedule import Deed
from tests.scenarios.matrix.stage import Stage
from tests.support.mortal import Fault
from tests.support.specs import CONFORMANCE, make_spec

MOST_PROCESSES: Final = 3
_DECOYS: Final[tuple[dict[str, str], ...]] = ({LABEL_INSTANCE: "default2"}, {LABEL_INSTANCE: "defaul"}, {})


@singledispatch
async def do(deed: Deed, stage: Stage) -> None:
    """Do `deed` on the stage."""
    raise TypeError(f"no stage can do {deed}")


@do.register
async def _(deed: deeds.Create, stage: Stage) -> None:
    listed = CONFORMANCE.specs if deed.kubernetes and deed.conformance else ()
    spec = make_spec(workers=deed.nodes - 1, kubernetes=deed.kubernetes, conformance=listed).model_copy(
        update={"restart": deed.restart, "ttl_seconds": deed.ttl, "heartbeat_interval_seconds": deed.heartbeat}
    )
    hold = _hold(stage, deed.hold, "running") if deed.hold is not None else None
    cluster, _ = await stage.store.clusters.create(NewCluster(None, spec, deed.owner, hold))
    stage.ids.append(cluster.id)


@do.register
async def _(deed: deeds.Delete, stage: Stage) -> None:
    if cluster_id := cluster_of(deed, stage):
        await stage.store.lifecycle.delete(cluster_id)
        stage.unwanted.add(cluster_id)


@do.register
async def _(deed: deeds.Hold, stage: Stage) -> None:
    await _change(deed, stage, Change(hold=_hold(stage, deed.seconds, deed.vms)))


@do.register
async def _(deed: deeds.Unhold, stage: Stage) -> None:
    await _change(deed, stage, Change(hold=None))


@do.register
async def _(deed: deeds.Extend, stage: Stage) -> None:
    await _change(deed, stage, Change(ttl_seconds=deed.ttl))


@do.register
async def _(deed: deeds.Heartbeat, stage: Stage) -> None:
    if cluster_id := cluster_of(deed, stage):
        try:
            await stage.store.updates.heartbeat(cluster_id)
        except errors.Conflict:
            return


@do.register
async def _(deed: deeds.Exit, stage: Stage) -> None:
    name = f"dayfly-{cluster_of(deed, stage)}-{deed.part}"
    if (container := stage.engine.containers.get(name)) is not None and container.alive:
        stage.exits[cluster_of(deed, stage) or ""] += 1
        stage.engine.exit(name)


@do.register
async def _(deed: deeds.RemoveByHand, stage: Stage) -> None:
    name = f"dayfly-{cluster_of(deed, stage)}-{deed.part}"
    if name in stage.engine.containers:
        stage.bereft.add(cluster_of(deed, stage) or "")
        stage.engine.remove_by_hand(name)


@do.register
async def _(deed: deeds.Plant, stage: Stage) -> None:
    number, cluster_id = len(stage.decoys), cluster_of(deed, stage) or "0123456789ab"
    name = f"dayfly-{cluster_id}-node9{number}"
    stage.engine.plant(deed.kind, name, {**_DECOYS[number % 3], LABEL_CLUSTER: cluster_id})
    stage.decoys[deed.kind, name] = getattr(stage.engine, f"{deed.kind}s")[name]


@do.register
async def _(deed: deeds.EngineRestart, stage: Stage) -> None:
    _mark_down(stage)
    stage.engine.restart_engine()


@do.register
async def _(deed: deeds.EngineDown, stage: Stage) -> None:
    if deed.kill:
        _mark_down(stage)
    stage.engine.engine_down(137 if deed.kill else None)


@do.register
async def _(deed: deeds.EngineUp, stage: Stage) -> None:
    stage.engine.engine_up()


@do.register
async def _(deed: deeds.RepeatEvents, stage: Stage) -> None:
    stage.engine.repeat_events()


@do.register
async def _(deed: deeds.BreakEvents, stage: Stage) -> None:
    stage.engine.disconnect()


@do.register
async def _(deed: deeds.Pass, stage: Stage) -> None:
    await asyncio.sleep(deed.seconds)


@do.register
async def _(deed: deeds.Fail, stage: Stage) -> None:
    error = getattr(errors, deed.error)(f"as scheduled: {deed.error}")
    stage.traffic.faults.append(Fault(deed.part, deed.method, deed.nth, error, deed.moment))


@do.register
async def _(deed: deeds.Kill, stage: Stage) -> None:
    if stage.processes:
        stage.processes[deed.process % len(stage.processes)].doom(deed.nth, deed.moment)


@do.register
async def _(deed: deeds.SuspendProcess, stage: Stage) -> None:
    running = [process for process in stage.processes if not process.suspended]
    if running and len(stage.processes) < MOST_PROCESSES:
        running[deed.process % len(running)].suspend()
        stage.ghosts += 1
        stage.add_process()


@do.register
async def _(deed: deeds.ResumeProcess, stage: Stage) -> None:
    for process in stage.processes:
        process.resume()


@do.register
async def _(deed: deeds.Join, stage: Stage) -> None:
    if len(stage.processes) < MOST_PROCESSES:
        stage.add_process()


async def _change(deed: deeds.OfCluster, stage: Stage, change: Change) -> None:
    if cluster_id := cluster_of(deed, stage):
        try:
            await stage.store.updates.change(cluster_id, change)
        except errors.Conflict:
            return


def _hold(stage: Stage, seconds: int, vms: VmsUnderHold) -> Hold:
    return Hold(stage.clock.now() + timedelta(seconds=seconds), "to be looked at", vms)


def _mark_down(stage: Stage) -> None:
    stage.went_down |= {container.spec.labels.get(LABEL_CLUSTER, "") for container in stage.engine.containers.values()}


def cluster_of(deed: deeds.OfCluster, stage: Stage) -> str | None:
    return stage.ids[deed.cluster % len(stage.ids)] if stage.ids else None
