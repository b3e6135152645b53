"""The store: what is wanted and what was reported, and the only SQL of the project.

`Store` has two halves: the API writes wishes (clusters.py, changes.py, wishes.py), the worker admits and claims
clusters and reports on them (admission.py, leases.py, reports.py, beginnings.py, making.py). A topic of its own has
both in one file (templates.py, checkpoints.py, pools.py); so has what is about all clusters (history.py, counts.py).
Not here: deciding what happens next (reconcile/), or what is true of the world (drivers/ are asked for that).
"""

from __future__ import annotations

from dayfly.store.store import Store
from dayfly.store.values import (
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
from dayfly.store.wakeups import Watch

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
