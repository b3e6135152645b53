"""The transition table: the phases of a cluster, and which may follow which. Any other transition raises."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from dayfly.errors import Internal


class Desired(StrEnum):
    """What the caller wants; only the API writes it."""

    PRESENT = "present"
    HIBERNATED = "hibernated"
    ABSENT = "absent"


class Phase(StrEnum):
    """Where a cluster is; only the reconciler writes it."""

    PENDING = "pending"
    """Accepted, or to be woken up; waits in the queue until the host has room for it."""
    PROVISIONING = "provisioning"
    """A worker is making it, resetting it, waking it up, or making it whole again after something of it went down."""
    READY = "ready"
    """All that the spec asked for holds."""
    HIBERNATED = "hibernated"
    """Its machines' memory lies on the disk and nothing of it runs; woken up, it goes on where it was."""
    FAILED = "failed"
    """Given up, with an error code. The evidence is kept; no container is, unless a hold keeps them."""
    DELETING = "deleting"
    """Being removed; the name is still taken."""
    DELETED = "deleted"
    """Nothing is left but the row; the name is free."""


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
        # It has given its vCPUs and memory back: it waits for room like any other.
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

SETTLED: Final = frozenset({Phase.READY, Phase.HIBERNATED, Phase.FAILED, Phase.DELETED})
"""Phases that a cluster leaves only when somebody wants it to."""


def check_transition(old: Phase, new: Phase) -> None:
    """Raise Internal unless the table has `old` → `new`."""
    if (old, new) not in TRANSITIONS:
        raise Internal(f"no transition leads from {old} to {new}")
