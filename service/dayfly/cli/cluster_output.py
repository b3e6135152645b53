"""Clusters as text, for standard output."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from dayfly.cli.formatting import (
    format_age,
    format_duration,
    format_facts,
    format_nodes,
    format_table,
    format_time,
    printable_line,
)
from dayfly.client import AddonError, Cluster, ClusterSummary, Hold
from dayfly.schemas.clusters import is_paused

_NEVER: Final = "never"


def phase(cluster: ClusterSummary) -> str:
    """The phase, and what it does not tell: the queue position, a pause, or that a hold keeps an expired cluster."""
    if cluster.phase == "failed" and cluster.error is not None and cluster.error.code == "expired":
        return "failed (expired)"
    if cluster.phase == "ready" and cluster.paused:
        return "ready (paused)"
    return f"{cluster.phase} (#{cluster.queue_position})" if cluster.queue_position else cluster.phase


def sentence(cluster: Cluster) -> str:
    if cluster.desired == "absent" and cluster.phase != "deleted":
        return f"{cluster.name} is being deleted"
    if cluster.phase == "ready" and is_paused(cluster):
        return _paused(cluster)
    if cluster.phase == "ready" and cluster.ready_at is not None:
        took = format_duration((cluster.ready_at - cluster.created_at).total_seconds())
        return f"{cluster.name} is ready ({took}{_source(cluster)})"
    return f"{cluster.name} is {phase(cluster)}"


def _paused(cluster: Cluster) -> str:
    return f"{cluster.name} is not usable at the moment: its VMs are paused"


def _source(cluster: Cluster) -> str:
    """What a ready cluster was made from, to follow the time that it took; `` from a server that does not tell."""
    if cluster.not_forked_because:
        return f", from its image: {printable_line(cluster.not_forked_because)}"
    return f", a fork of template {cluster.template}" if cluster.template is not None else ""


def state(cluster: Cluster) -> str:
    """One line after a command that resets, hibernates or resumes."""
    requested = _requested(cluster)
    if requested is None and cluster.phase == "ready" and is_paused(cluster):
        return _paused(cluster)
    return f"{cluster.name} is {f'being {requested}' if requested else phase(cluster)}"


def ttl_sentence(cluster: Cluster) -> str:
    if cluster.desired == "absent":
        return f"{cluster.name} is {'deleted' if cluster.phase == 'deleted' else 'being deleted'}"
    held = f"held until {_when(cluster.hold)}" if cluster.hold else "not held"
    failed = "failed and " if phase(cluster) == "failed" else ""
    return f"{cluster.name} {failed}{lifetime(cluster)}; {held}"


def addons_sentence(cluster: Cluster) -> str:
    """The add-ons of a cluster, with the states of those that do not work yet, or are being removed."""
    told = (one.name if one.state == "ready" else f"{one.name} ({one.state})" for one in cluster.addons)
    return f"{cluster.name} has {'the add-ons ' + ', '.join(told) if cluster.addons else 'no add-ons'}"


def lifetime(cluster: Cluster) -> str:
    """How long the cluster lives, as a predicate: `never expires`, `expires at …`, `expired at …`."""
    end = _end(cluster)
    if end == _NEVER:
        return "never expires"
    is_past = cluster.expires_at is not None and cluster.expires_at <= datetime.now(UTC)
    return f"{'expired' if is_past else 'expires'} {end}"


def idleness(cluster: Cluster) -> str:
    if cluster.idle_seconds is None:
        return f"{cluster.name} hibernates only on request"
    return f"{cluster.name} hibernates after {_quiet(cluster.idle_seconds)}"


def _quiet(seconds: float) -> str:
    return f"{format_duration(seconds)} without traffic"


def table(clusters: Sequence[ClusterSummary], *, wide: bool = False) -> str:
    header = ("NAME", "ID", "OWNER", "PHASE", "IMAGE", "NODES", "AGE")
    more = ("EXPIRES", "TEMPLATE", "API", "LABELS") if wide else ()
    return format_table((*header, *more), [(*_cells(one), *(_wide_cells(one) if wide else ())) for one in clusters])


def _cells(one: ClusterSummary) -> tuple[str, ...]:
    nodes = str(1 + one.workers.count)
    return one.name, one.id, one.owner, phase(one), one.image, nodes, format_age(one.created_at)


def _wide_cells(one: ClusterSummary) -> tuple[str, ...]:
    api = one.endpoints.get("api")
    labels = ",".join(f"{key}={value}" for key, value in one.labels.items())
    return _end(one), one.template or "-", str(api) if api else "-", labels or "-"


def description(cluster: Cluster) -> str:
    requested = _requested(cluster)
    facts = {
        "name": cluster.name,
        "id": cluster.id,
        "owner": cluster.owner,
        "phase": f"{cluster.phase} (to be {requested})" if requested else phase(cluster),
        **_queue(cluster),
        "image": f"{cluster.image} ({_kubernetes(cluster)})",
        **format_nodes(cluster.control_plane, cluster.workers),
        "created": f"{cluster.created_at:%Y-%m-%d %H:%M:%S} UTC, {format_age(cluster.created_at)} ago",
        "expires": _end(cluster),
        "held": f"until {_when(cluster.hold)}" if cluster.hold else None,
        "idle": f"hibernates after {_quiet(cluster.idle_seconds)}" if cluster.idle_seconds else None,
        "template": cluster.template,
        "from image": cluster.not_forked_because or None,
        "isolation": cluster.isolation if cluster.isolation != "shared" else None,
        "ports": ", ".join(f"{one.name}={one.node or one.address}:{one.port}" for one in cluster.ports) or None,
        "generation": str(cluster.generation) if cluster.generation > 1 else None,
        "restarts": str(cluster.restarts) if cluster.restarts else None,
        "labels": ", ".join(f"{key}={value}" for key, value in cluster.labels.items()) or "none",
    }
    parts = [format_facts(facts)]
    if cluster.error is not None:
        is_expired = cluster.error.code == "expired"  # kept by a hold; nothing went wrong
        message = printable_line(cluster.error.message)
        parts.append(f"{'expired' if is_expired else f'error [{cluster.error.code}]'}: {message}")
        if cluster.error.evidence:
            parts[-1] += f"\nevidence    {', '.join(cluster.error.evidence)}"
    if cluster.addons:
        told = [(one.name, one.state, _why(one.error)) for one in cluster.addons]
        parts.append(format_table(("ADD-ON", "STATE", "ERROR"), told))
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


def _why(error: AddonError | None) -> str:
    return "-" if error is None else f"[{error.code}] {printable_line(error.message)}"


def _requested(cluster: Cluster) -> str | None:
    """What a pending request makes of the cluster: `deleted`, `hibernated`, `resumed` or `reset`."""
    if cluster.desired == "absent":
        return "deleted" if cluster.phase != "deleted" else None
    if cluster.desired == "hibernated" and cluster.phase != "hibernated":
        return "hibernated"
    if cluster.desired == "present" and cluster.phase == "hibernated":
        return "resumed"
    return "reset" if cluster.reset_to is not None else None


def _queue(cluster: Cluster) -> dict[str, str]:
    if cluster.queue_position is None:
        return {}
    start, ready = cluster.estimated_start_at, cluster.estimated_ready_at
    if start is None:
        return {"begins": "when the host has free resources; no estimate"}
    likely = {"begins": f"likely {format_time(start)}"}
    return {**likely, "ready": f"likely {format_time(ready)}"} if ready else likely


def _end(cluster: ClusterSummary) -> str:
    if cluster.expires_at is not None:
        why = ", unless a heartbeat comes" if cluster.expires_because == "heartbeat" else ""
        return format_time(cluster.expires_at) + (why if cluster.expires_at > datetime.now(UTC) else "")
    if cluster.ttl_seconds is not None:
        return f"{format_duration(cluster.ttl_seconds)} after it is ready"
    return _NEVER


def _when(hold: Hold) -> str:
    vms = f", its VMs {hold.vms} if it failed or expired" if hold.vms != "running" else ""
    return f"{hold.until:%Y-%m-%d %H:%M:%S} UTC: {hold.reason}{vms}"


def _kubernetes(cluster: Cluster) -> str:
    version = cluster.kubernetes_version
    return f"Kubernetes {version}" if version else "no Kubernetes"
