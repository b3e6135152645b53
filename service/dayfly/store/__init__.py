"""The store: what is wanted and what was reported, and the only SQL of the project.

`Store` has two halves: the API writes wishes (clusters.py), the worker claims clusters and writes reports (leases.py).
Not here: deciding what happens next (reconcile/), or what is true of the world (drivers/ are asked for that).
"""

from __future__ import annotations

from dayfly.store.store import Store
from dayfly.store.values import Claim, IdempotencyKey, NewCluster, Page
from dayfly.store.wakeups import Watch

__all__ = ["Claim", "IdempotencyKey", "NewCluster", "Page", "Store", "Watch"]
