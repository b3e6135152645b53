"""Presents domain values as responses (schemas/clusters.py)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Literal

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
    Workers,
)
from dayfly.schemas.nodes import Node


def show_spec(spec: ClusterSpec) -> Spec:
    kubernetes = spec.manifest.kubernetes
    return Spec.of(
        spec,
        image_digest=spec.manifest.digest,
        kubernetes_version=kubernetes.version if kubernetes else None,
        readiness=spec.promised_readiness,
        workers=Workers.of(spec.worker, count=spec.workers),
    )


def addon_names(spec: ClusterSpec) -> tuple[str, ...]:
    return tuple(addon.name for addon in spec.addons)


def show_summary(cluster: domain.Cluster, place: QueuePosition = NOT_QUEUED) -> ClusterSummary:
    end = expiry(cluster)
    return ClusterSummary.of(
        cluster,
        **dict(show_spec(cluster.spec)),
        template=cluster.template_id,
        not_forked_because=cluster.not_forked,
        pool=cluster.pool_id,
        generation=cluster.generation + (cluster.reset_to is not None),
        reset_to=_show_reset(cluster.reset_to),
        origin=str(cluster.boot_source) if cluster.boot_source and cluster.phase is Phase.PROVISIONING else None,
        expires_because=end.reason if end and cluster.expires_at else None,
        queue_position=place.position,
        estimated_start_at=place.start_at,
        estimated_ready_at=place.ready_at,
        endpoints={port.leads_to: port.endpoint for port in show_ports(cluster).ports if port.endpoint},
        error=show_fault(cluster.fault, ()),
    )


def show_cluster(
    cluster: domain.Cluster,
    steps: Sequence[domain.StepReport],
    evidence: Collection[str],
    now: datetime,
    place: QueuePosition = NOT_QUEUED,
) -> Cluster:
    fields = dict(show_summary(cluster, place))
    fields["error"] = show_fault(cluster.fault, evidence)
    return Cluster(**fields, steps=show_steps(steps, now))


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
