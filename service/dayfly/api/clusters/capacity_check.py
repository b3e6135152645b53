"""Checks whether a cluster can ever run on this host, and names what could. Not here: the queue (queue_position.py)."""

from __future__ import annotations

from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.scheduling.resources import CLUSTER_OVERHEAD_MIB, NODE_OVERHEAD_MIB, CapacityRules, Resources, demand
from dayfly.errors import Capacity


def check_room(spec: ClusterSpec, host: Resources, rules: CapacityRules) -> None:
    """Raises Capacity, naming what would fit, if the cluster exceeds an otherwise empty host."""
    largest = max((spec.control_plane, spec.worker) if spec.workers else (spec.control_plane,), key=lambda s: s.vcpus)
    if largest.vcpus > host.vcpus:
        raise Capacity(
            f"a node would have {largest.vcpus} vCPUs, and the host has {host.vcpus} CPUs: a single node cannot have "
            "more vCPUs than the host has CPUs"
        )
    needs, offered = demand(spec), rules.offered(host)
    if not needs.fits(offered):
        would_fit = _what_would_fit(spec, host, offered)
        raise Capacity(f"the cluster needs {needs}; this host offers its clusters {offered} in all: {would_fit}")


def _what_would_fit(spec: ClusterSpec, host: Resources, offered: Resources) -> str:
    alone = demand(spec.model_copy(update={"workers": 0}))
    if alone.fits(offered):
        each = demand(spec.model_copy(update={"workers": 1})) - alone
        room = offered - alone
        count = min(room.vcpus // each.vcpus, room.memory_mib // each.memory_mib, room.disk_gib // each.disk_gib)
        if count == 0:
            return "the first node would fit, but no worker of this size"
        return f"{count} worker{'s' if count > 1 else ''} of this size would fit"
    largest = Resources(
        min(offered.vcpus, host.vcpus),
        offered.memory_mib - NODE_OVERHEAD_MIB - CLUSTER_OVERHEAD_MIB,
        offered.disk_gib,
    )
    if min(largest.vcpus, largest.memory_mib, largest.disk_gib) < 1:
        return "no cluster fits"
    return f"the first node does not fit; a single node could have up to {largest}"
