"""The store: desired state and reported state of clusters, templates and pools. The only SQL of the project.

`Store` (store.py) is made of parts with one file each: `store.clusters.get(…)` is in clusters/queries.py. The API
records requests (`clusters`, `updates`, `lifecycle`); workers admit, claim and report (`admission`, `leases`,
`status`, `provisioning`, `template_builds`). `templates`, `checkpoints`, `pools` and `images` serve both; `event_feed`,
`maintenance`, `statistics` and `image_uses` are about all clusters. `bakes` has the bakes that callers request,
`bake_leases` their builders' claims. `idempotency_keys` has the requests that were carried out.
Not here: deciding what happens next (controllers/), and what is true of the world (drivers/).
"""

from __future__ import annotations

from dayfly.store.commands import (
    DEFAULT_OWNER,
    MEMBER_STATES,
    UNSET,
    BakeClaim,
    BakePage,
    CarriedOut,
    Change,
    Claim,
    ClusterEvent,
    EventFilter,
    EventPage,
    IdempotencyKey,
    Known,
    NewCluster,
    NewPool,
    PoolChange,
    Usage,
)
from dayfly.store.notify.commit_notifier import Watch
from dayfly.store.store import Store

__all__ = [
    "DEFAULT_OWNER",
    "MEMBER_STATES",
    "UNSET",
    "BakeClaim",
    "BakePage",
    "CarriedOut",
    "Change",
    "Claim",
    "ClusterEvent",
    "EventFilter",
    "EventPage",
    "IdempotencyKey",
    "Known",
    "NewCluster",
    "NewPool",
    "PoolChange",
    "Store",
    "Usage",
    "Watch",
]
