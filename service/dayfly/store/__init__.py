"""The store: what is wanted and what was reported, and the only SQL of the project.

`Store` has two halves: the API writes wishes (clusters.py, changes.py), the worker admits and claims clusters and
writes reports (admission.py, leases.py, reports.py, history.py).
Not here: deciding what happens next (reconcile/), or what is true of the world (drivers/ are asked for that).
"""

from __future__ import annotations

from dayfly.store.store import Store
from dayfly.store.values import UNSET, Change, Claim, IdempotencyKey, Known, NewCluster, Page, Unset
from dayfly.store.wakeups import Watch

__all__ = ["UNSET", "Change", "Claim", "IdempotencyKey", "Known", "NewCluster", "Page", "Store", "Unset", "Watch"]
