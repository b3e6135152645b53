"""The root of the tree of errors; errors that stop a worker's pass: a lost lease, an outage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

MESSAGE_CHARACTERS: Final = 2000
"""Of a message, and of the operator's detail: guests and other servers wrote parts of both."""


class DayflyError(Exception):
    """Root of the tree.

    `message` is one sentence for people, cut to MESSAGE_CHARACTERS. `evidence` maps a short name ("console", "stderr")
    to text; evidence is shown to callers and stored in the database, and must not contain a secret. `operator_detail`
    is what another server wrote (the engine, a registry, the database): for the log and for commands on the server,
    never for callers of the API.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init_subclass__(cls, *, code: str | None = None, retryable: bool | None = None) -> None:
        """`class VmExited(Failure, code="vm_exited", retryable=True)`; what is not given is inherited."""
        super().__init_subclass__()
        if code is not None:
            cls.code = code
        if retryable is not None:
            cls.retryable = retryable

    def __init__(self, message: str, *, evidence: Mapping[str, str] | None = None, operator_detail: str = "") -> None:
        self.message = shorten(message)
        super().__init__(self.message)
        self.evidence: dict[str, str] = dict(evidence or {})
        self.operator_detail = _one_line(operator_detail)

    @property
    def for_operator(self) -> str:
        """The message with the detail."""
        return f"{self.message} (details: {self.operator_detail})" if self.operator_detail else self.message


def shorten(text: str, limit: int = MESSAGE_CHARACTERS) -> str:
    """`text` in at most `limit` characters, with … for the end that is cut off."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _one_line(text: str) -> str:
    """One line of bounded length, control characters escaped."""
    line = " ".join(text[: MESSAGE_CHARACTERS + 1].split())
    return shorten("".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line))


class LeaseLost(DayflyError, code="lease_lost"):
    """Another worker has the lease: this worker must stop at once and write nothing more."""


class InfrastructureError(DayflyError, retryable=True):
    """The database or the engine does not answer.

    No cluster fails because of an outage: the worker requeues the cluster (controllers/cluster/outages.py).
    `needed`: the missing dependency. `step`: the interrupted step, if that step does not record its own events.
    """

    needed: ClassVar[str] = "infrastructure"
    step: str | None = None

    @property
    def waiting(self) -> str:
        """A sentence for the events of a waiting cluster."""
        return f"waiting for the {self.needed}: {self.message}"


class DatabaseUnavailable(InfrastructureError, code="database_unavailable"):
    """The database does not answer, or not in time."""

    needed = "database"


class EngineUnavailable(InfrastructureError, code="engine_unavailable"):
    """The engine does not answer."""

    needed = "engine"


class IssuerUnavailable(InfrastructureError, code="issuer_unavailable"):
    """An OIDC issuer cannot be asked for its keys."""

    needed = "issuer"


class SecretsKeyMissing(InfrastructureError, code="secrets_key_missing"):
    """The key that the database's secrets are encrypted with is not among the keys of this process."""

    needed = "key of the secrets"
