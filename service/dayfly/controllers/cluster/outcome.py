"""The result of a pass on one cluster, or of a part of it: done, requeue, or provision under the same claim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.store import Claim


@dataclass(frozen=True)
class Done:
    """No further pass is needed, unless a caller changes the cluster or time makes it due
    (store/clusters/schedule.py).
    """

    seconds: ClassVar[None] = None


@dataclass(frozen=True)
class RequeueAfter:
    """Another pass is due after `seconds`."""

    seconds: float


@dataclass(frozen=True)
class Provision:
    """The cluster of `claim` is to be provisioned. `new_secrets`: those of a cluster that has just begun."""

    claim: Claim
    new_secrets: ClusterSecrets | None = None


Outcome = Done | RequeueAfter
"""The result of a whole pass."""
