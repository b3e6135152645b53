"""When waiting for a cluster is over, and how long it may take."""

from __future__ import annotations

from typing import Final

from dayfly.schemas.clusters import ClusterSummary, wait_is_over
from dayfly.vocabulary import WaitFor

READY_SECONDS: Final = 1800.0
DELETED_SECONDS: Final = 300.0
HIBERNATED_SECONDS: Final = 600.0
HOLD_SECONDS: Final = 50.0
"""How long one request of a longer wait is held: less than what proxies cut."""
FOLLOW_SECONDS: Final = 600.0
"""The longest outage of the server after which events and consoles are still followed."""
OVERLAP_CHARACTERS: Final = 1024
"""The end of a console's output by which the place is found again after an outage."""


def longest_hold(cluster: ClusterSummary) -> float:
    """How long one request of a wait is held: whoever waits sends a heartbeat in each third of the interval."""
    if cluster.heartbeat_interval_seconds is None:
        return HOLD_SECONDS
    return min(HOLD_SECONDS, cluster.heartbeat_interval_seconds / 3)


def unseen(printed: str, seen: str) -> str:
    """What a console printed after `seen`, the last that was read; all of `printed` where `seen` is not in it."""
    _, found, rest = printed.rpartition(seen) if seen else (printed, "", "")
    return rest if found or not seen else printed


def is_paused(cluster: ClusterSummary) -> bool:
    """Whether a caller's cluster is not usable for the moment, whatever its phase; members of a pool wait paused."""
    return cluster.paused and cluster.purpose == "cluster"


def is_over(cluster: ClusterSummary, wanted: WaitFor) -> bool:
    """Whether the cluster has the awaited state or cannot reach it."""
    ready = cluster.phase == "ready" and cluster.reset_to is None and not is_paused(cluster)
    return wait_is_over(wanted, cluster.phase, cluster.desired, ready=ready)
