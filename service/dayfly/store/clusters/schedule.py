"""The schedule: when a worker looks at a cluster next (`due_at`). The rule is domain/cluster/expiry.next_look.

A claim does not change `due_at`, so that another worker follows as soon as the lease of a dead worker ends. Therefore
no write under a claim may postpone it; the release of the claim sets it anew.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from dayfly.domain.cluster.expiry import expiry, next_look
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.store.commands import Claim

_REST: Final = timedelta(seconds=1)


def look(cluster: Cluster, now: datetime) -> datetime | None:
    """When time alone makes the cluster due; None: never."""
    planned = next_look(cluster, now)
    if expiry(cluster) is None and cluster.deleted_at is None:
        # Its end was set before there were rules for one, and stands until there is another.
        return sooner(planned, cluster.expires_at)
    return planned


def asked(due_at: datetime | None, now: datetime) -> datetime:
    """When a cluster is due of which something is wanted at once.

    Never the very time that it was due by already: that it is another tells who has the claim that it was asked again.
    """
    return now if due_at != now else now + timedelta(microseconds=1)


def sooner(*times: datetime | None) -> datetime | None:
    """The first of those that are set."""
    return min((time for time in times if time is not None), default=None)


def after_change(
    old: Cluster, new: Cluster, due_at: datetime | None, now: datetime, *, leased: bool
) -> datetime | None:
    """What `due_at` becomes when a caller makes `new` of `old`.

    It moves later only where nothing but time was waited for: what a worker planned, or is at, stays due.
    """
    wanted = look(new, now)
    if new.phase is Phase.FAILED and new.reserved and new.hold != old.hold:
        return now  # what is kept of it is to be kept otherwise, or not at all
    waits_for_time = not leased and (due_at is None or due_at > now) and due_at == look(old, now)
    return wanted if waits_for_time else sooner(due_at, wanted)


def after_claim(
    claim: Claim, cluster: Cluster, due_at: datetime | None, now: datetime, due_in_seconds: float | None
) -> datetime | None:
    """What `due_at` becomes when `claim` is released: as the worker asks, or sooner for what it has not seen."""
    wanted = look(cluster, now)
    if due_in_seconds is None:
        # A pass that could do nothing about what is due shall not be followed by the next one at once, and so forever.
        idle = wanted is not None and wanted <= now and cluster == claim.cluster
        planned = now + _REST if idle else wanted
    else:
        planned = now + timedelta(seconds=due_in_seconds)
        seen = claim.cluster
        changed = _wished(cluster) != _wished(seen)
        if wanted is not None and (changed or wanted > now):
            # What was due already when the worker decided to wait does not cut its pause short.
            planned = min(planned, wanted)
    asked_again = claim.due_at is not None and due_at != claim.due_at
    return sooner(planned, due_at) if asked_again else planned


def _wished(cluster: Cluster) -> tuple[object, ...]:
    """All that callers want otherwise now and then, and that makes a cluster due."""
    return cluster.desired, cluster.hold, cluster.spec.ttl_seconds, cluster.reset_to, cluster.purpose
