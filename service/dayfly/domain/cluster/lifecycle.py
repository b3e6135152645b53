"""The transition table: the phases of a cluster, and which may follow which. Any other transition raises."""

from __future__ import annotations

from typing import Final

from dayfly.errors import Internal
from dayfly.vocabulary import Desired, Phase

__all__ = ["LIVING", "TRANSITIONS", "Desired", "Phase", "check_transition"]


_NEXT: Final = {
    Phase.PENDING: (Phase.PROVISIONING, Phase.DELETING),
    Phase.PROVISIONING: (Phase.READY, Phase.FAILED, Phase.DELETING),
    Phase.READY: (Phase.PROVISIONING, Phase.FAILED, Phase.HIBERNATED, Phase.DELETING),
    # A hibernated cluster has released its vCPUs and memory: it is queued again.
    Phase.HIBERNATED: (Phase.PENDING, Phase.FAILED, Phase.DELETING),
    Phase.FAILED: (Phase.DELETING,),
    Phase.DELETING: (Phase.DELETED,),
}
TRANSITIONS: Final = frozenset((old, new) for old, phases in _NEXT.items() for new in phases)

LIVING: Final = frozenset(Phase) - {Phase.DELETED}
"""Phases in which a cluster's name is taken."""


def check_transition(old: Phase, new: Phase) -> None:
    """Raise Internal unless the table has `old` → `new`."""
    if (old, new) not in TRANSITIONS:
        raise Internal(f"no transition leads from {old} to {new}")
