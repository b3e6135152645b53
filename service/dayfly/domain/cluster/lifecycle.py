"""The transition table: the phases of a cluster, and which may follow which. Any other transition raises."""

from __future__ import annotations

from typing import Final

from dayfly.errors import Internal
from dayfly.vocabulary import Desired, Phase

__all__ = ["LIVING", "TRANSITIONS", "Desired", "Phase", "check_transition"]


TRANSITIONS: Final[frozenset[tuple[Phase, Phase]]] = frozenset(
    {
        (Phase.PENDING, Phase.PROVISIONING),
        (Phase.PENDING, Phase.DELETING),
        (Phase.PROVISIONING, Phase.READY),
        (Phase.PROVISIONING, Phase.FAILED),
        (Phase.PROVISIONING, Phase.DELETING),
        (Phase.READY, Phase.PROVISIONING),
        (Phase.READY, Phase.FAILED),
        (Phase.READY, Phase.HIBERNATED),
        # A hibernated cluster has released its vCPUs and memory: it is queued again.
        (Phase.HIBERNATED, Phase.PENDING),
        (Phase.HIBERNATED, Phase.FAILED),
        (Phase.HIBERNATED, Phase.DELETING),
        (Phase.READY, Phase.DELETING),
        (Phase.FAILED, Phase.DELETING),
        (Phase.DELETING, Phase.DELETED),
    }
)

LIVING: Final = frozenset(Phase) - {Phase.DELETED}
"""Phases in which a cluster's name is taken."""


def check_transition(old: Phase, new: Phase) -> None:
    """Raise Internal unless the table has `old` → `new`."""
    if (old, new) not in TRANSITIONS:
        raise Internal(f"no transition leads from {old} to {new}")
