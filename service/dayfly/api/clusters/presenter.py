"""Presents domain values as responses (schemas/clusters.py)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Literal

from dayfly.api.queue_cache import NOT_QUEUED, QueuePosition
from dayfly.domain import checkpoint as checkpoints
from dayfly.domain.cluster import model as domain
from dayfly.domain.cluster import network, topology
from dayfly.domain.cluster import spec as specs
from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.cluster.expiry import expiry
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.errors import Internal
from dayfly.schemas.checkpoints import Checkpoint
from dayfly.schemas.clusters import (
    Cluster,
    ClusterSummary,
    Endpoint,
    ErrorReport,
    Event,
    Heartbeat,
    Hold,
    NodeSize,
    Port,
    PortList,
    Shape,
    Spec,
    Step,
    ToCheckpoint,
    Workers,
)
from dayfly.schemas.nodes import Node, NodeMemory


def show_spec(spec: ClusterSpec) -> Spec:
    kubernetes = spec.manifest.kubernetes
    return Spec(
        image=spec.image,
        image_id=spec.image_id,
        kubernetes_version=kubernetes.version if kubernetes else None,
        control_plane=NodeSize(**spec.control_plane.model_dump()),
        workers=Workers(count=spec.workers, **spec.worker.model_dump()),
        readiness=spec.readiness,
        labels=dict(spec.labels),
        ttl_seconds=spec.ttl_seconds,
        heartbeat_interval_seconds=spec.heartbeat_interval_seconds,
        restart=spec.restart,
        isolation=spec.isolation,
        idle_seconds=spec.idle_seconds,
    )


def show_summary(cluster: domain.Cluster, place: QueuePosition = NOT_QUEUED) -> ClusterSummary:
    end = expiry(cluster)
    return ClusterSummary(
        **dict(show_spec(cluster.spec)),
        id=cluster.id,
        name=cluster.name,
        owner=cluster.owner,
        phase=cluster.phase,
        desired=cluster.desired,
        purpose=cluster.purpose,
        template=cluster.template_id,
        not_forked_because=cluster.not_forked,
        pool=cluster.pool_id,
        generation=cluster.generation + (cluster.reset_to is not None),
        reset_to=_show_reset(cluster.reset_to),
        origin=str(cluster.origin) if cluster.origin and cluster.phase is Phase.PROVISIONING else None,
        created_at=cluster.created_at,
        updated_at=cluster.updated_at,
        admitted_at=cluster.admitted_at,
        ready_at=cluster.ready_at,
        failed_at=cluster.failed_at,
        deleted_at=cluster.deleted_at,
        expires_at=cluster.expires_at,
        expires_because=end.reason if end and cluster.expires_at else None,
        heartbeat_at=cluster.heartbeat_at,
        active_at=cluster.active_at,
        hold=show_hold(cluster.hold),
        restarts=cluster.restarts,
        queue_position=place.position,
        estimated_start_at=place.start_at,
        estimated_ready_at=place.ready_at,
        endpoints={
            leads_to: Endpoint(host=endpoint.host, port=endpoint.port)
            for port, leads_to in topology.published_ports(cluster.spec).items()
            if (endpoint := cluster.endpoints.get(port))
        },
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


def show_hold(hold: domain.Hold | None) -> Hold | None:
    return Hold.model_validate(hold, from_attributes=True) if hold else None


def show_heartbeat(cluster: domain.Cluster) -> Heartbeat:
    interval = cluster.spec.heartbeat_interval_seconds
    if interval is None:
        raise Internal("a cluster without heartbeats accepted one")
    return Heartbeat(expires_at=cluster.expires_at, heartbeat_interval_seconds=interval)


def show_steps(steps: Sequence[domain.StepReport], now: datetime) -> tuple[Step, ...]:
    return tuple(
        Step(**vars(step), seconds=round(max(0.0, ((step.finished_at or now) - step.started_at).total_seconds()), 3))
        for step in steps
    )


def show_node(
    cluster: domain.Cluster,
    node: specs.Node,
    steps: Sequence[domain.StepReport],
    memory: domain.MachineMemory | None,
    now: datetime,
) -> Node:
    return Node(
        name=node.name,
        role=node.role,
        address=network.node_address(node.index),
        size=NodeSize(**node.size.model_dump()),
        ssh=_show_endpoint(cluster.endpoints, network.ssh_forward_port(node.index)),
        memory=NodeMemory(**asdict(memory)) if memory else None,
        steps=show_steps([step for step in steps if step.node == node.name], now),
    )


def show_ports(cluster: domain.Cluster) -> PortList:
    return PortList(
        ports=tuple(
            Port(port=port, leads_to=leads_to, endpoint=_show_endpoint(cluster.endpoints, port))
            for port, leads_to in topology.published_ports(cluster.spec).items()
        )
    )


def show_event(event: domain.Event) -> Event:
    return Event.model_validate(event, from_attributes=True)


def _show_reset(to: BootSource | None) -> Literal["pristine"] | ToCheckpoint | None:
    if to is None:
        return None
    return ToCheckpoint(checkpoint=to.name) if to.kind == "checkpoint" else "pristine"


def _show_endpoint(endpoints: Mapping[int, domain.Endpoint], port: int) -> Endpoint | None:
    found = endpoints.get(port)
    return Endpoint(host=found.host, port=found.port) if found else None


def show_fault(fault: domain.Fault | None, evidence: Collection[str]) -> ErrorReport | None:
    if fault is None:
        return None
    return ErrorReport(
        code=fault.code, message=fault.message, step=fault.step, node=fault.node, evidence=tuple(sorted(evidence))
    )


def show_checkpoint(checkpoint: checkpoints.Checkpoint) -> Checkpoint:
    return Checkpoint.model_validate(checkpoint, from_attributes=True)


def shape_fields(spec: ClusterSpec) -> dict[str, object]:
    return {name: value for name, value in show_spec(spec) if name in Shape.model_fields}
