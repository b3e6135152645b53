"""Clusters as text and as JSON, for standard output."""

from __future__ import annotations

import json
from collections.abc import Sequence

from dayfly.cli.values import format_age, format_duration, format_table
from dayfly.client import Cluster


def as_json(value: Cluster | Sequence[Cluster]) -> str:
    """The API's own representation."""
    if isinstance(value, Cluster):
        return value.model_dump_json(indent=2)
    return json.dumps([one.model_dump(mode="json", exclude={"steps"}) for one in value], indent=2)


def sentence(cluster: Cluster) -> str:
    """One line after a command that changed something."""
    if cluster.phase == "ready" and cluster.ready_at is not None:
        took = format_duration((cluster.ready_at - cluster.created_at).total_seconds())
        return f"{cluster.name} is ready ({took})"
    if cluster.desired == "absent" and cluster.phase != "deleted":
        return f"{cluster.name} is being deleted"
    return f"{cluster.name} is {cluster.phase}"


def table(clusters: Sequence[Cluster]) -> str:
    """One line a cluster."""
    return format_table(
        ("NAME", "ID", "PHASE", "IMAGE", "NODES", "AGE"),
        [
            (one.name, one.id, one.phase, one.image, str(1 + one.workers.count), format_age(one.created_at))
            for one in clusters
        ],
    )


def description(cluster: Cluster) -> str:
    """All there is to say."""
    first, workers = cluster.control_plane, cluster.workers
    facts = {
        "name": cluster.name,
        "id": cluster.id,
        "phase": cluster.phase if cluster.desired == "present" else f"{cluster.phase} (to be deleted)",
        "image": f"{cluster.image} ({_kubernetes(cluster)})",
        "first node": f"{first.vcpus} vCPUs, {first.memory_mib} MiB memory, {first.disk_gib} GiB disk",
        "workers": f"{workers.count} x {workers.vcpus} vCPUs, {workers.memory_mib} MiB, {workers.disk_gib} GiB"
        if workers.count
        else "none",
        "created": f"{cluster.created_at:%Y-%m-%d %H:%M:%S} UTC, {format_age(cluster.created_at)} ago",
        "expires": f"{cluster.expires_at:%Y-%m-%d %H:%M:%S} UTC" if cluster.expires_at else "never",
        "labels": ", ".join(f"{key}={value}" for key, value in cluster.labels.items()) or "none",
    }
    parts = ["\n".join(f"{key:<12}{value}" for key, value in facts.items())]
    if cluster.error is not None:
        parts.append(f"error [{cluster.error.code}]: {cluster.error.message}")
        if cluster.error.evidence:
            parts[-1] += f"\nevidence    {', '.join(cluster.error.evidence)}"
    if cluster.endpoints:
        rows = [(leads_to, str(endpoint)) for leads_to, endpoint in cluster.endpoints.items()]
        parts.append(format_table(("PORT", "AT"), rows))
    if cluster.steps:
        steps = [
            (step.node or "-", step.name, step.state, format_duration(step.seconds), step.detail)
            for step in cluster.steps
        ]
        parts.append(format_table(("NODE", "STEP", "STATE", "TIME", "DETAIL"), steps))
    return "\n\n".join(parts)


def _kubernetes(cluster: Cluster) -> str:
    version = cluster.kubernetes_version
    return f"Kubernetes {version}" if version else "plain machines"
