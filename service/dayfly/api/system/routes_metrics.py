"""GET /metrics: the store's numbers, read at each scrape, and the metrics of this process (dayfly/metrics.py).

The store's numbers are the same from each API process of an installation. Not here: the counting
(store/statistics.py).
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from typing import Final

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Gauge, generate_latest

from dayfly import metrics
from dayfly.api.dependencies import ApiServices, Services
from dayfly.api.principals import Caller
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.pool import Pool
from dayfly.domain.scheduling.fair_queue import Queue
from dayfly.domain.scheduling.resources import Resources
from dayfly.domain.security.principal import Scope
from dayfly.store import DEFAULT_OWNER, MEMBER_STATES, Usage

NewGauge = Callable[..., Gauge]

router: Final = APIRouter(tags=["system"])

OTHER_OWNERS: Final = "(others)"
"""No owner's name has brackets."""
MAX_OWNERS: Final = 100


@router.get("/metrics", operation_id="getMetrics", response_class=PlainTextResponse)
async def get_metrics(services: Services, caller: Caller) -> PlainTextResponse:
    """Metrics of the installation and of this process, in Prometheus' text format.

    Clusters, capacity, queue, leases, pools, templates and bakes are read from the database for this response. Counters
    and histograms are those of this process: scrape each process. Samples with an owner are those of the caller's team,
    for an operator those of all. While the database does not answer,
    `dayfly_database_up` is 0, and what is read from it is left out.
    """
    # In parallel: of an engine or a database that hangs, each look-up takes half of the time that Prometheus waits.
    now, stored = await asyncio.gather(
        _infrastructure(services), services.lookups.known(_store(services, caller.scope))
    )
    up = Gauge("dayfly_database_up", "1 if the database answered during this scrape, otherwise 0.", registry=now)
    up.set(0 if stored is None else 1)
    registries = (now, stored, metrics.REGISTRY)
    text = b"".join(generate_latest(registry) for registry in registries if registry is not None)
    return PlainTextResponse(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _infrastructure(services: ApiServices) -> CollectorRegistry:
    registry = CollectorRegistry()
    gauge = partial(Gauge, registry=registry)
    up = gauge("dayfly_engine_up", "1 if the engine answered during this scrape, otherwise 0.")
    versions, capacity = await asyncio.gather(
        services.lookups.known(services.engine_versions()),
        services.lookups.known(services.host_capacity()),
    )
    up.set(0 if versions is None else 1)
    if capacity is None:
        amounts = dict.fromkeys(("host", "offered"), (math.nan, math.nan, math.nan))
    else:
        amounts = {"host": _amounts(capacity), "offered": _amounts(services.rules.offered(capacity))}
    texts = {"host": "of the engine's host", "offered": "that clusters may reserve in all"}
    for name, (vcpus, memory, disk) in amounts.items():
        unknown = "NaN while the host's size is unknown."
        cpus = "cpus" if name == "host" else "vcpus"
        gauge(f"dayfly_{name}_{cpus}", f"CPUs {texts[name]}; {unknown}").set(vcpus)
        gauge(f"dayfly_{name}_memory_bytes", f"Memory {texts[name]}; {unknown}").set(memory)
        gauge(f"dayfly_{name}_disk_bytes", f"Disk {texts[name]}; {unknown}").set(disk)
    return registry


async def _store(services: ApiServices, scope: Scope) -> CollectorRegistry:
    """The store's numbers. Raises DatabaseUnavailable."""
    registry = CollectorRegistry()
    gauge = partial(Gauge, registry=registry)
    statistics, admission = services.store.statistics, services.store.admission
    usage, held = await statistics.usage(), await admission.held()
    _add_clusters(gauge, usage, held, scope)
    _add_queue(gauge, usage)
    valid, expired = await statistics.count_leases()
    leases = gauge("dayfly_leases", "Leases of workers on clusters, valid or expired.", ["state"])
    leases.labels("valid").set(valid)
    leases.labels("expired").set(expired)
    pools = await services.store.pools.list()
    visible = [pool for pool in pools if scope.includes(pool.owner)]
    _add_pools(gauge, await statistics.count_members(), visible)
    gauge("dayfly_pools", "Pools.").set(len(pools))
    templates = gauge("dayfly_templates", "Templates, by phase.", ["phase"])
    for phase, number in (await statistics.count_templates()).items():
        templates.labels(phase.value).set(number)
    bakes = gauge("dayfly_bakes", "Bakes on record, by phase.", ["phase"])
    for bake_phase, number in (await services.store.bakes.count()).items():
        bakes.labels(bake_phase.value).set(number)
    queued_at = await services.store.bakes.oldest_queued_at()
    gauge(
        "dayfly_bake_queue_oldest_timestamp_seconds",
        "Unix time at which the bake that is queued for the longest time was requested; 0: none is queued.",
    ).set(0 if queued_at is None else queued_at.timestamp())
    gauge("dayfly_forks", "Living forks of templates.").set(await statistics.count_forks())
    return registry


def _add_clusters(gauge: NewGauge, usage: Sequence[Usage], held: Queue, scope: Scope) -> None:
    clusters = gauge("dayfly_clusters", "Living clusters, by owner and phase.", ["owner", "phase"])
    reserved = {
        "vcpus": gauge("dayfly_reserved_vcpus", "Reserved vCPUs.", ["owner"]),
        "memory": gauge("dayfly_reserved_memory_bytes", "Reserved memory.", ["owner"]),
        "disk": gauge("dayfly_reserved_disk_bytes", "Reserved disk, without snapshots.", ["owner"]),
    }
    totals: Counter[str] = Counter()
    for one in usage:
        totals[one.owner] += one.clusters
    shown = _shown_owners(totals, held.held) if scope.is_all else {scope.team}
    counts: Counter[tuple[str, Phase]] = Counter()
    for one in usage:
        counts[one.owner if one.owner in shown else OTHER_OWNERS, one.phase] += one.clusters
    shares: defaultdict[str, Resources] = defaultdict(Resources)
    for owner, share in held.held.items():
        shares[owner if owner in shown else OTHER_OWNERS] += share
    for owner in sorted({DEFAULT_OWNER, *(owner for owner, _ in counts), *shares}):
        if not scope.includes(owner):
            continue
        for phase in Phase:
            if phase is not Phase.DELETED:
                clusters.labels(owner, phase.value).set(counts[owner, phase])
        reserved["vcpus"].labels(owner).set(shares[owner].vcpus)
        reserved["memory"].labels(owner).set(shares[owner].memory_mib * 2**20)
        reserved["disk"].labels(owner).set(shares[owner].disk_gib * 2**30)
    snapshots = gauge("dayfly_snapshots_disk_bytes", "Disk of templates and checkpoints.")
    snapshots.set(held.saved_gib * 2**30)


def _shown_owners(totals: Mapping[str, int], held: Mapping[str, Resources]) -> Set[str]:
    """The owners with series of their own: callers choose owners freely, so their number must be bounded."""
    ranked = sorted({*totals, *held} - {DEFAULT_OWNER}, key=lambda owner: (-totals.get(owner, 0), owner))
    return {DEFAULT_OWNER, *ranked[: MAX_OWNERS - 1]}


def _add_queue(gauge: NewGauge, usage: Sequence[Usage]) -> None:
    queued = gauge("dayfly_queue_clusters", "Clusters in the admission queue.")
    queued.set(sum(one.waiting for one in usage))
    oldest = gauge(
        "dayfly_queue_oldest_timestamp_seconds",
        "Unix time at which the first cluster of the queue was created; 0: the queue is empty.",
    )
    first = min((one.waiting_since for one in usage if one.waiting_since is not None), default=None)
    oldest.set(0 if first is None else first.timestamp())


def _add_pools(gauge: NewGauge, counts: Mapping[tuple[str, str], int], pools: Sequence[Pool]) -> None:
    totals = Counter(dict.fromkeys(MEMBER_STATES, 0))
    for (_, state), count in counts.items():
        totals[state] += count
    # The sum has samples without any pool, so that a rule on it never looks at nothing.
    sums = gauge("dayfly_members", "Members of all pools: ready, provisioning, failed, or deleting.", ["state"])
    for state, total in sorted(totals.items()):
        sums.labels(state).set(total)
    if not pools:
        return  # the names of pools are not known in advance, and a metric without samples is not shown
    members = gauge("dayfly_pool_members", "Members of a pool, as dayfly_members.", ["owner", "pool", "state"])
    for pool in pools:
        for state in MEMBER_STATES:
            members.labels(pool.owner, pool.name, state).set(counts.get((pool.id, state), 0))


def _amounts(resources: Resources) -> tuple[float, float, float]:
    return float(resources.vcpus), resources.memory_mib * 2.0**20, resources.disk_gib * 2.0**30
