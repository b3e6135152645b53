"""The store: what is wanted and what was reported, and the only SQL of the project.

`Store` has two halves: the API writes wishes (clusters/queries.py, clusters/updates.py,
clusters/lifecycle_requests.py), the worker admits and claims clusters and reports on them (admission.py,
clusters/leases.py, clusters/status_updates.py, clusters/provisioning_status.py, clusters/template_builds.py). A topic
of its own has both in one file (templates.py, checkpoints.py, pools.py); so has what is about all clusters
(maintenance.py, statistics.py). Not here: deciding what happens next (controllers/), or what is true of the world
(drivers/ are asked for that).
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
