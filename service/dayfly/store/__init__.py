"""The store: desired state and reported state of clusters, templates and pools. The only SQL of the project.

`Store` has two users. The API writes what callers request (clusters/create.py, clusters/updates.py,
clusters/lifecycle_requests.py) and reads (clusters/queries.py); workers admit, claim and report (admission.py,
clusters/leases.py, clusters/status_updates.py, clusters/provisioning_status.py, clusters/template_builds.py).
Templates, checkpoints and pools have one file each for both users; maintenance.py and statistics.py are about all
clusters.
Not here: deciding what happens next (controllers/), and what is true of the world (drivers/).
"""

from __future__ import annotations

from dayfly.store.commands import (
    UNSET,
    Change,
    Claim,
    IdempotencyKey,
    Known,
    NewCluster,
    NewPool,
    Page,
    PoolChange,
    Unset,
)
from dayfly.store.notify.commit_notifier import Watch
from dayfly.store.store import Store

__all__ = [
    "UNSET",
    "Change",
    "Claim",
    "IdempotencyKey",
    "Known",
    "NewCluster",
    "NewPool",
    "Page",
    "PoolChange",
    "Store",
    "Unset",
    "Watch",
]
