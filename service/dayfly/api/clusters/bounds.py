"""Checks a cluster against the bounds of its caller (domain/security/principal.py). Not here: quotas of teams."""

from __future__ import annotations

from datetime import datetime, timedelta

from dayfly.domain.cluster.model import Hold
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.security.principal import Bounds
from dayfly.errors import OverBounds


def check_size(bounds: Bounds, spec: ClusterSpec) -> None:
    """Raises OverBounds where the nodes together are more than the caller may request for one cluster."""
    sizes = [node.size for node in spec.nodes()]
    for name, most, wanted in (
        ("nodes", bounds.max_nodes, spec.node_count),
        ("vCPUs", bounds.max_vcpus, sum(size.vcpus for size in sizes)),
        ("MiB of memory", bounds.max_memory_mib, sum(size.memory_mib for size in sizes)),
        ("GiB of disk", bounds.max_disk_gib, sum(size.disk_gib for size in sizes)),
    ):
        if most is not None and wanted > most:
            raise OverBounds(f"the cluster would have {wanted} {name}, and your token allows at most {most}")


def check_ttl(bounds: Bounds, ttl_seconds: int | None) -> None:
    """Raises OverBounds where a cluster would live longer than the caller may request; None: for ever."""
    most = bounds.max_ttl_seconds
    if most is not None and (ttl_seconds is None or ttl_seconds > most):
        raise OverBounds(f"ttl_seconds: your token allows at most {most}")


def check_hold(bounds: Bounds, hold: Hold | None, began: datetime) -> None:
    """Raises OverBounds where a hold would keep a cluster for longer than the caller may let one live.

    `began`: when the cluster's time to live began; now, where it has not begun.
    """
    if bounds.max_ttl_seconds is None or hold is None:
        return
    latest = began + timedelta(seconds=bounds.max_ttl_seconds)
    if hold.until > latest:
        raise OverBounds(
            f"hold: your token allows a cluster to live at most {bounds.max_ttl_seconds} s, and so a hold until "
            f"{latest:%Y-%m-%d %H:%M:%S} UTC"
        )
