"""The schedule: when a worker looks at a cluster next (`due_at`). The rule is domain/cluster/expiry.next_look.

A claim does not change `due_at`, so that another worker follows as soon as the lease of a dead worker ends. Therefore
no write under a claim may postpone it; the release of the claim sets the next time.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row

from dayfly.domain.cluster.expiry import expiry, next_look
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.store.commands import Claim
from dayfly.store.db.mapping import cluster_from

_REST: Final = timedelta(seconds=1)


def with_end(cluster: Cluster) -> Cluster:
    end = expiry(cluster)
    return replace(cluster, expires_at=end.at if end else None)


def look(cluster: Cluster, now: datetime) -> datetime | None:
    """The next due time without any request; None: never."""
    planned = next_look(cluster, now)
    if expiry(cluster) is None and cluster.deleted_at is None:
        # Rows of an older Dayfly may have an expiry that no rule gives.
        return sooner(planned, cluster.expires_at)
    return planned


def due_at_once(due_at: datetime | None, now: datetime) -> datetime:
    """The due time of a cluster with a new request: now, but never equal to the present `due_at`.

    The holder of the claim recognises a new request by a changed `due_at`.
    """
    return now if due_at != now else now + timedelta(microseconds=1)


def sooner(*times: datetime | None) -> datetime | None:
    return min((time for time in times if time is not None), default=None)


def after_change(old: Cluster, new: Cluster, row: Row[Any], now: datetime) -> datetime | None:
    """The new `due_at` when a caller's update turns `old`, the cluster of `row`, into `new`.

    `due_at` may move later only if it came from `look`: the requeue of a worker, or of a leased cluster, stays.
    """
    planned, due_at = look(new, now), row.due_at
    if new.phase is Phase.FAILED and new.reserved and new.hold != old.hold:
        return now  # a worker applies the changed hold to the failed cluster's VMs
    leased = row.lease_expires_at is not None and row.lease_expires_at > now
    waits_for_time = not leased and (due_at is None or due_at > now) and due_at == look(old, now)
    return planned if waits_for_time else sooner(due_at, planned)


def after_heartbeat(row: Row[Any], now: datetime) -> dict[str, Any]:
    """The columns of the cluster of `row` when its heartbeat interval begins again."""
    old = cluster_from(row)
    new = with_end(replace(old, heartbeat_at=now, warned_at=None))
    due_at = after_change(old, new, row, now)
    return {"heartbeat_at": now, "expires_at": new.expires_at, "warned_at": None, "due_at": due_at}


def after_claim(
    claim: Claim, cluster: Cluster, due_at: datetime | None, now: datetime, due_in_seconds: float | None
) -> datetime | None:
    """The new `due_at` at the release of `claim`: the worker's requeue, or sooner for requests under the claim."""
    next_due = look(cluster, now)
    if due_in_seconds is None:
        # A pass without effect on a cluster that is still due must not loop without a pause.
        idle = next_due is not None and next_due <= now and cluster == claim.cluster
        planned = now + _REST if idle else next_due
    else:
        planned = now + timedelta(seconds=due_in_seconds)
        seen = claim.cluster
        changed = _requested(cluster) != _requested(seen)
        if next_due is not None and (changed or next_due > now):
            # An action that was due before the worker's decision does not shorten the back-off.
            planned = min(planned, next_due)
    requested_again = claim.due_at is not None and due_at != claim.due_at
    return sooner(planned, due_at) if requested_again else planned


def _requested(cluster: Cluster) -> tuple[object, ...]:
    """The fields that requests change and that make a cluster due."""
    return cluster.desired, cluster.hold, cluster.spec.ttl_seconds, cluster.reset_to, cluster.purpose
