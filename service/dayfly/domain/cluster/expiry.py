"""When a cluster expires, by time to live or heartbeat: one rule for the API that extends and the worker that deletes.

Not here: the deletion (controllers/), and the limits of an extension (api/).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Purpose
from dayfly.domain.cluster.spec import VmsUnderHold
from dayfly.vocabulary import ExpiryReason

WARNING: Final = timedelta(minutes=5)
"""How long before the end a warning comes, but never before four fifths of the time have passed."""
IDLE_LOOKS: Final = 4
"""How often traffic is measured within `idle_seconds`."""


@dataclass(frozen=True)
class Expiry:
    """The end of a cluster: its time, its reason, and the time of the warning event."""

    at: datetime
    reason: ExpiryReason
    warn_at: datetime

    @property
    def story(self) -> str:
        return "its time to live is over" if self.reason == "ttl" else "its caller sent no heartbeat in time"


def expiry(cluster: Cluster) -> Expiry | None:
    """The earliest end, or None. A hold does not move the end: it keeps an expired cluster."""
    spec, ends = cluster.spec, []
    began = cluster.ready_at or cluster.failed_at
    if spec.ttl_seconds is not None and began is not None:
        ends.append(_expiry("ttl", began, spec.ttl_seconds))
    if spec.heartbeat_interval_seconds is not None and cluster.heartbeat_at is not None:
        ends.append(_expiry("heartbeat", cluster.heartbeat_at, spec.heartbeat_interval_seconds))
    return min(ends, key=lambda end: end.at, default=None)


def is_over(cluster: Cluster, now: datetime) -> bool:
    """Whether the cluster has expired and no hold keeps it."""
    return cluster.expires_at is not None and cluster.expires_at <= now and not cluster.held(now)


def must_stop(cluster: Cluster, now: datetime) -> bool:
    """Whether the cluster has expired and a hold keeps it with its machines stopped."""
    return _kept(cluster, now) == "stopped"


def must_hibernate(cluster: Cluster, now: datetime) -> bool:
    """Whether the cluster has expired and a hold keeps it hibernated."""
    return _kept(cluster, now) == "hibernated"


def next_look(cluster: Cluster, now: datetime) -> datetime | None:
    """When a worker must reconcile the cluster next without a request; None: never."""
    if cluster.phase is Phase.DELETED:
        return None
    if cluster.desired is Desired.ABSENT:
        return now
    if _is_due(cluster, now):
        return now
    end, hold = expiry(cluster), cluster.hold
    times = [end.warn_at, end.at] if end is not None else []
    if hold is not None:
        times.append(hold.until)
    if cluster.phase is Phase.READY and cluster.purpose is Purpose.CLUSTER and cluster.spec.idle_seconds is not None:
        times.append(now + timedelta(seconds=cluster.spec.idle_seconds) / IDLE_LOOKS)
    return min((time for time in times if time > now), default=None)


def _is_due(cluster: Cluster, now: datetime) -> bool:
    end = expiry(cluster)
    if end is not None and cluster.warned_at is None and end.warn_at <= now:
        return True
    if is_over(cluster, now):
        return True
    match cluster.phase:
        case Phase.FAILED:
            return cluster.reserved and not cluster.held(now)
        case Phase.READY:
            requested = cluster.reset_to is not None or cluster.desired is Desired.HIBERNATED
            return requested or _is_unfinished(cluster) or must_stop(cluster, now) or must_hibernate(cluster, now)
        case Phase.HIBERNATED:
            return cluster.desired is Desired.PRESENT and not must_hibernate(cluster, now)
        case _:
            return False


def _is_unfinished(cluster: Cluster) -> bool:
    """Whether a ready cluster still lacks an action that its purpose requires."""
    match cluster.purpose:
        case Purpose.CLUSTER:
            return cluster.paused  # resume its machines, or set their clocks
        case Purpose.POOL_MEMBER:
            return not cluster.paused
        case Purpose.TEMPLATE | Purpose.VERIFICATION:
            return True


def _kept(cluster: Cluster, now: datetime) -> VmsUnderHold | None:
    """How a hold keeps the machines of an expired cluster; None: not expired, or not held."""
    ended = cluster.expires_at is not None and cluster.expires_at <= now
    return cluster.hold.vms if ended and cluster.hold is not None and cluster.held(now) else None


def _expiry(reason: ExpiryReason, began: datetime, seconds: int) -> Expiry:
    length = timedelta(seconds=seconds)
    return Expiry(began + length, reason, began + length - min(WARNING, length / 5))
