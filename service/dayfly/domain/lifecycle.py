"""THE transition table: the phases of a cluster and how they follow one another. Anything else raises."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from dayfly.errors import Internal


class Desired(StrEnum):
    """What the caller wants; only the API writes it."""

    PRESENT = "present"
    ABSENT = "absent"


class Phase(StrEnum):
    """Where a cluster is; only the reconciler writes it."""

    PENDING = "pending"
    """Accepted; waits in the queue until the host has room for it."""
    PROVISIONING = "provisioning"
    """A worker is making it, or making it whole again after the engine, the host or a machine of it went down."""
    READY = "ready"
    """All that the spec asked for holds."""
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
        (Phase.READY, Phase.DELETING),
        (Phase.FAILED, Phase.DELETING),
        (Phase.DELETING, Phase.DELETED),
    }
)

LIVING: Final = frozenset(Phase) - {Phase.DELETED}
"""Phases in which a cluster's name is taken."""

SETTLED: Final = frozenset({Phase.READY, Phase.FAILED, Phase.DELETED})
"""Phases that a cluster leaves only when somebody wants it to."""


def check_transition(old: Phase, new: Phase) -> None:
    """Raise Internal unless the table has `old` → `new`."""
    if (old, new) not in TRANSITIONS:
        raise Internal(f"no transition leads from {old} to {new}")
