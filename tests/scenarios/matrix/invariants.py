"""Invariants after a schedule: everything is repaired, and the service is idle."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from sqlalchemy import select

from dayfly.domain.cluster.damage import damage
from dayfly.domain.cluster.expiry import expiry, is_over, must_stop
from dayfly.domain.cluster.lifecycle import TRANSITIONS, Desired, Phase
from dayfly.domain.cluster.model import Cluster, StepState
from dayfly.domain.cluster.naming import LABEL_CLUSTER
from dayfly.domain.cluster.topology import Publication, Topology, compute_topology
from dayfly.domain.scheduling.fair_queue import admissible
from dayfly.store.db.tables import clusters as table
from dayfly.testing.fakes import FakeContainer
from tests.scenarios.matrix.saved_invariants import check_hibernated, check_machines, check_saved
from tests.scenarios.matrix.stage import Stage, recorded, settings

_LOCK_WAIT: Final = timedelta(seconds=1)
_SOFT: Final = frozenset({"EngineRefused", "PortsExhausted", "SshTimeout"})
_HARD: Final = frozenset({"NotUsable", "NodeNotReady"})


async def check(stage: Stage) -> None:
    """Raises AssertionError."""
    assert not stage.crashes, f"a process ended by itself: {stage.crashes}"
    assert await stage.is_quiet(), "work was left over"
    now = stage.clock.now()
    known = await recorded(stage.store, stage.ids)
    for cluster in known:
        await _check_cluster(stage, cluster, now)
    await _check_leases(stage)
    _check_engine(stage, known)
    await _check_queue(stage, known)
    await _check_orphans(stage)
    await check_saved(stage)


async def _check_cluster(stage: Stage, cluster: Cluster, now: datetime) -> None:
    match cluster.phase:
        case Phase.PENDING:
            assert not cluster.reserved
            assert cluster.admitted_at is None
        case Phase.HIBERNATED:
            assert cluster.reserved, "its disks are the host's still"
            check_hibernated(stage, cluster)
        case Phase.READY:
            await _check_ready(stage, cluster, now)
        case Phase.FAILED:
            _check_failed(stage, cluster, now)
        case Phase.DELETED:
            assert cluster.id in stage.unwanted or _has_ended(cluster), "deleted, though nobody wanted that"
            assert not _containers(stage, cluster.id)
            assert not cluster.reserved
            assert await stage.store.clusters.secrets(cluster.id) is None
        case _:
            raise AssertionError(f"{cluster.id} rests in {cluster.phase}")
    if cluster.phase is not Phase.DELETED:
        assert cluster.id not in stage.unwanted, f"{cluster.id} was to be deleted, and is {cluster.phase}"
        if cluster.phase is not Phase.FAILED:
            assert (cluster.desired is Desired.HIBERNATED) == (cluster.phase is Phase.HIBERNATED)
        assert not is_over(cluster, now), f"{cluster.id} is over, and still {cluster.phase}"
        end = expiry(cluster)
        assert cluster.expires_at == (end.at if end else None)
    await _check_story(stage, cluster)


async def _check_ready(stage: Stage, cluster: Cluster, now: datetime) -> None:
    topology = topology_of(cluster)
    seen = await stage.engine.list_containers(cluster.id)
    assert damage(topology, seen) is None
    assert {status.name for status in seen} == _names(topology)
    assert cluster.reserved
    assert cluster.fault is None
    check_machines(stage, cluster)
    assert not must_stop(cluster, now)
    published = await stage.engine.endpoints(cluster.id)
    told = {inside: infrastructure.port for inside, infrastructure in cluster.endpoints.items()}
    assert told == {inside: infrastructure.port for inside, infrastructure in published.items()}, (
        "callers are told wrong ports"
    )
    assert {step.state for step in await stage.store.clusters.steps(cluster.id)} == {StepState.DONE}
    assert await stage.store.clusters.secrets(cluster.id) is not None


def _check_failed(stage: Stage, cluster: Cluster, now: datetime) -> None:
    assert cluster.fault is not None
    assert cluster.failed_at is not None
    found = _containers(stage, cluster.id)
    if not cluster.held(now):
        assert not found, "a failed cluster that nobody holds is cleared away"
        assert not cluster.reserved
    elif cluster.hold is not None and cluster.hold.vms == "stopped":
        running = [container.spec.name for container in found if container.spec.role == "node" and container.alive]
        assert not running, f"held with its machines stopped, and these run: {running}"
    if cluster.fault.code != "expired":
        assert may_fail(stage, cluster), f"{cluster.id} failed without a reason: {cluster.fault}"


def may_fail(stage: Stage, cluster: Cluster) -> bool:
    """Whether what was done to the cluster is a reason to give it up."""
    fired = Counter(type(fault.error).__name__ for fault in stage.traffic.fired)
    soft = sum(fired[name] for name in _SOFT) + stage.exits[cluster.id]
    down = cluster.id in stage.went_down or stage.exits[cluster.id] > 0
    return (
        soft >= settings().step_attempts
        or any(fired[name] for name in _HARD)
        or cluster.id in stage.bereft
        or (stage.traffic.late_removals > 0 and cluster.fault is not None and cluster.fault.code == "container_removed")
        or (cluster.spec.restart == "never" and down)
    )


def _has_ended(cluster: Cluster) -> bool:
    end, deleted = cluster.expires_at, cluster.deleted_at
    return end is not None and deleted is not None and end <= deleted


async def _check_story(stage: Stage, cluster: Cluster) -> None:
    """The phases in the events form a chain from the first phase to the present one."""
    events = await stage.store.clusters.events(cluster.id, limit=10_000)
    assert [event.id for event in events] == sorted(event.id for event in events)
    # A transaction that waits for a row's lock has read the clock before.
    assert all(a.at <= b.at + _LOCK_WAIT for a, b in pairwise(events))
    phase = Phase.PENDING
    for event in events:
        if event.type == "phase":
            old, new = map(Phase, event.message.split(" → "))
            assert old is phase
            assert (old, new) in TRANSITIONS
            phase = new
    assert phase is cluster.phase
    told = Counter(event.type for event in events)
    if told["cluster.fallback"]:
        stage.fell_back.add(cluster.id)
    if told["cluster.hibernated"]:
        stage.slept.add(cluster.id)
    else:
        assert told["cluster.admitted"] == (cluster.admitted_at is not None), "a share of the host is given once"


async def _check_leases(stage: Stage) -> None:
    async with stage.store._database.read() as connection:
        leased = (await connection.execute(select(table.c.id).where(table.c.lease_token.is_not(None)))).all()
    assert not leased, "somebody has a lease and does nothing"


def _check_engine(stage: Stage, known: list[Cluster]) -> None:
    engine = stage.engine
    ports = [port for container in engine.containers.values() for port in container.ports.values()]
    assert len(ports) == len(set(ports))
    for (kind, name), thing in stage.decoys.items():
        assert getattr(engine, f"{kind}s").get(name) is thing, f"the foreign {kind} {name} was touched"
        assert not isinstance(thing, FakeContainer) or thing.starts == 0
    for cluster in known:
        _check_births(stage, cluster)


def _check_births(stage: Stage, cluster: Cluster) -> None:
    """Machines are made once: their disks are the caller's. And they are not started again for nothing."""
    if cluster.generation > 1 or cluster.id in stage.reset | stage.fell_back:
        return
    births = [at for name, at in stage.engine.births if _is_of(name, cluster)]
    # A ghost may make something of a cluster that is gone by now: then it has been swept away.
    is_whole = cluster.phase is Phase.READY and cluster.id not in stage.bereft
    if cluster.ready_at is not None and (is_whole or not stage.ghosts):
        assert all(at <= cluster.ready_at for at in births), "something was made anew after the cluster was ready"
    fired = {type(fault.error).__name__ for fault in stage.traffic.fired}
    if fired & (_SOFT | _HARD) or cluster.id in {*stage.exits, *stage.bereft, *stage.went_down}:
        return
    created = Counter(name for name, _ in stage.engine.births if _is_of(name, cluster))
    again = [name for name, times in created.items() if times > 1]
    assert not again or stage.ghosts, f"made twice: {again}"
    if cluster.id in stage.slept:
        return
    # If its process dies before the restore, the next process stops the container: its progress is unknown.
    idle = stage.engine.never_ran
    often = [c.spec.name for c in _containers(stage, cluster.id) if c.starts - idle[c.spec.name] > 1]
    assert not often, f"started again for nothing: {often}"


async def _check_queue(stage: Stage, known: list[Cluster]) -> None:
    queue = await stage.store.admission.queue()
    assert not admissible(queue, stage.offered), "there is room, and somebody waits"
    assert queue.in_use.fits(stage.offered), "more was given than there is"
    waiting = {cluster.id for cluster in known if cluster.phase is Phase.PENDING}
    assert waiting <= {one.id for one in queue.waiting}


async def _check_orphans(stage: Stage) -> None:
    assert await stage.collector().orphans() == ()


def topology_of(cluster: Cluster) -> Topology:
    return compute_topology(
        cluster.id, cluster.spec, instance="default", accelerator="tcg", publication=Publication(), generation=1
    )


def _is_of(name: str, cluster: Cluster) -> bool:
    return name.startswith(f"dayfly-{cluster.id}-")


def _names(topology: Topology) -> set[str]:
    return {topology.net.name, topology.registry.name, *(node.name for node in topology.nodes)}


def _containers(stage: Stage, cluster_id: str) -> list[FakeContainer]:
    of_decoys = set(map(id, stage.decoys.values()))
    found = stage.engine.containers.values()
    return [c for c in found if c.spec.labels.get(LABEL_CLUSTER) == cluster_id and id(c) not in of_decoys]
