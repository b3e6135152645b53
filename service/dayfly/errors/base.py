"""The root of the tree of errors; errors that stop a worker's pass: a lost lease, an outage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class DayflyError(Exception):
    """Root of the tree.

    `message` is one sentence for people. `evidence` maps a short name ("console", "stderr") to text; evidence is shown
    to callers and stored in the database, and must not contain a secret.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, evidence: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.evidence: dict[str, str] = dict(evidence or {})


class LeaseLost(DayflyError):
    """Another worker has the lease: this worker must stop at once and write nothing more."""

    code = "lease_lost"


class InfrastructureError(DayflyError):
    """The database or the engine does not answer.

    No cluster fails because of an outage: the worker requeues the cluster (controllers/cluster/outages.py).
    `needed`: the missing dependency. `step`: the interrupted step, if that step does not record its own events.
    """

    retryable = True
    needed: ClassVar[str] = "infrastructure"
    step: str | None = None

    @property
    def waiting(self) -> str:
        """A sentence for the events of a waiting cluster."""
        return f"waiting for the {self.needed}: {self.message}"


class DatabaseUnavailable(InfrastructureError):
    """The database does not answer, or not in time."""

    code = "database_unavailable"
    needed = "database"


class EngineUnavailable(InfrastructureError):
    """The engine does not answer."""

    code = "engine_unavailable"
    needed = "engine"
