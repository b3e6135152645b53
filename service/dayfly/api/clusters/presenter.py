"""Presents domain values as responses (schemas/clusters.py)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

from dayfly.api.queue_cache import NOT_QUEUED, QueuePosition
from dayfly.domain.cluster import model as domain
from dayfly.domain.cluster import network, topology
from dayfly.domain.cluster import spec as specs
from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.cluster.expiry import expiry
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.errors import Internal
from dayfly.schemas.clusters import (
    Cluster,
    ClusterSummary,
    Endpoint,
    ErrorReport,
    Heartbeat,
    Port,
    PortList,
    Shape,
    Spec,
    Step,
    ToCheckpoint,
)
from dayfly.schemas.nodes import Node

_SAME: Final = tuple(Spec.model_fields.keys() & ClusterSpec.model_fields.keys())


def show_spec(spec: ClusterSpec) -> Spec:
    return Spec.model_validate(_spec_fields(spec), from_attributes=True)


def addon_names(spec: ClusterSpec) -> tuple[str, ...]:
    return tuple(addon.name for addon in spec.addons)


def show_summary(cluster: domain.Cluster, place: QueuePosition = NOT_QUEUED) -> ClusterSummary:
    return ClusterSummary.of(cluster, **_summary_fields(cluster, place), error=show_fault(cluster.fault, ()))


def _spec_fields(spec: ClusterSpec) -> dict[str, object]:
    kubernetes = spec.manifest.kubernetes
    return {name: getattr(spec, name) for name in _SAME} | {
        "image_digest": spec.manifest.digest,
        "kubernetes_version": kubernetes.version if kubernetes else None,
        "readiness": spec.promised_readiness,
        "workers": {**dict(spec.worker), "count": spec.workers},
    }


def _summary_fields(cluster: domain.Cluster, place: QueuePosition) -> dict[str, object]:
    end = expiry(cluster)
    return _spec_fields(cluster.spec) | {
        "template": cluster.template_id,
        "not_forked_because": cluster.not_forked,
        "pool": cluster.pool_id,
        "generation": cluster.generation + (cluster.reset_to is not None),
        "reset_to": _show_reset(cluster.reset_to),
        "origin": str(cluster.boot_source) if cluster.boot_source and cluster.phase is Phase.PROVISIONING else None,
        "expires_because": end.reason if end and cluster.expires_at else None,
        "queue_position": place.position,
        "estimated_start_at": place.start_at,
        "estimated_ready_at": place.ready_at,
        "endpoints": _endpoints(cluster),
    }


def show_cluster(
    cluster: domain.Cluster,
    steps: Sequence[domain.StepReport],
    evidence: Collection[str],
    now: datetime,
    place: QueuePosition = NOT_QUEUED,
) -> Cluster:
    own = {"error": show_fault(cluster.fault, evidence), "steps": show_steps(steps, now)}
    return Cluster.of(cluster, **_summary_fields(cluster, place), **own)


def show_heartbeat(cluster: domain.Cluster) -> Heartbeat:
    interval = cluster.spec.heartbeat_interval_seconds
    if interval is None:
        raise Internal("a cluster without heartbeats accepted one")
    return Heartbeat(expires_at=cluster.expires_at, heartbeat_interval_seconds=interval)


def show_steps(steps: Sequence[domain.StepReport], now: datetime) -> tuple[Step, ...]:
    return tuple(
        Step.of(step, seconds=round(max(0.0, ((step.finished_at or now) - step.started_at).total_seconds()), 3))
        for step in steps
    )


def show_node(
    cluster: domain.Cluster,
    node: specs.Node,
    steps: Sequence[domain.StepReport],
    memory: domain.MachineMemory | None,
    now: datetime,
) -> Node:
    return Node.of(
        node,
        address=network.node_address(node.index),
        ssh=_callers_endpoints(cluster).get(network.ssh_forward_port(node.index)),
        memory=memory,
        steps=show_steps([step for step in steps if step.node == node.name], now),
    )


def show_ports(cluster: domain.Cluster) -> PortList:
    endpoints = {port: Endpoint.of(one) for port, one in _callers_endpoints(cluster).items()}
    published = topology.published_ports(cluster.spec).items()
    return PortList(
        ports=tuple(Port(port=port, leads_to=leads_to, endpoint=endpoints.get(port)) for port, leads_to in published)
    )


def _endpoints(cluster: domain.Cluster) -> dict[str, domain.Endpoint]:
    """Where a published port leads → where it is reached."""
    endpoints = _callers_endpoints(cluster)
    if not endpoints:
        return {}
    published = topology.published_ports(cluster.spec).items()
    return {leads_to: endpoints[port] for port, leads_to in published if port in endpoints}


def _callers_endpoints(cluster: domain.Cluster) -> Mapping[int, domain.Endpoint]:
    """The endpoints that a caller may use: none of a pool's member, nor of one whose claim no worker has begun yet."""
    is_claimed_only = cluster.phase is Phase.PENDING and cluster.ready_at is None
    return cluster.endpoints if cluster.purpose is domain.Purpose.CLUSTER and not is_claimed_only else {}


def _show_reset(to: BootSource | None) -> Literal["pristine"] | ToCheckpoint | None:
    if to is None:
        return None
    return ToCheckpoint(checkpoint=to.name) if to.kind == "checkpoint" else "pristine"


def show_fault(fault: domain.Fault | None, evidence: Collection[str]) -> ErrorReport | None:
    return ErrorReport.of(fault, evidence=sorted(evidence)) if fault else None


def shape_fields(spec: ClusterSpec) -> dict[str, object]:
    shared = {name: value for name, value in show_spec(spec) if name in Shape.model_fields}
    return shared | {"addons": addon_names(spec)}
