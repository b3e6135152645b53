"""How long waits for a cluster may take. Not here: when a wait is over (schemas/clusters.py)."""

from __future__ import annotations

from typing import Final

from dayfly.client.errors import ClusterFailed
from dayfly.schemas.clusters import Cluster, ClusterSummary
from dayfly.vocabulary import WaitFor

READY_SECONDS: Final = 1800.0
DELETED_SECONDS: Final = 300.0
HIBERNATED_SECONDS: Final = 600.0
BAKE_SECONDS: Final = 7200.0
HOLD_SECONDS: Final = 50.0
"""How long one request of a longer wait is held: less than what proxies cut."""
FOLLOW_SECONDS: Final = 600.0
"""The longest outage of the server after which events and consoles are still followed."""
OVERLAP_CHARACTERS: Final = 1024
"""The end of a console's output by which the place is found again after an outage."""
_DESIRED: Final = {"ready": "present", "hibernated": "hibernated"}


def longest_hold(cluster: ClusterSummary) -> float:
    """How long one request of a wait is held: a third of the interval at most, because heartbeats move the expiry."""
    if cluster.heartbeat_interval_seconds is None:
        return HOLD_SECONDS
    return min(HOLD_SECONDS, cluster.heartbeat_interval_seconds / 3)


def require_reached(cluster: Cluster, wanted: WaitFor) -> None:
    """Raise ClusterFailed if the wait is over because the cluster cannot be `wanted`, or is to leave that state."""
    if wanted in _DESIRED and (cluster.phase, cluster.desired) != (wanted, _DESIRED[wanted]):
        raise ClusterFailed(cluster)


def unseen(printed: str, seen: str) -> str:
    """What a console printed after `seen`, the last that was read; all of `printed` where `seen` is not in it."""
    _, found, rest = printed.rpartition(seen) if seen else (printed, "", "")
    return rest if found or not seen else printed
