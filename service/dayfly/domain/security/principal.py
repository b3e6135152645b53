"""Principals: the callers of the API, each with a team and a role.

Not here: how a request proves its principal, and which role an operation needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DEFAULT_TEAM: Final = "default"
MAX_NAME: Final = 640
"""Characters of a principal's name: that of an issuer, and the subject of its token."""


class Role(StrEnum):
    """What a principal may do. Each role includes those before it."""

    VIEWER = "viewer"
    """Reads what its team has, without secrets."""
    USER = "user"
    """Creates, changes and deletes what its team has."""
    ADMIN = "admin"
    """Administers its team: tokens, webhooks, shared resources."""
    OPERATOR = "operator"
    """Administers the installation and all teams."""

    def includes(self, other: Role) -> bool:
        """Whether this role may do all that `other` may."""
        order = tuple(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True)
class Scope:
    """The teams whose objects a caller finds: `team`, or all teams, where a name means that of `team` first."""

    team: str
    is_all: bool = False

    def includes(self, team: str) -> bool:
        return self.is_all or team == self.team


EVERYWHERE: Final = Scope(DEFAULT_TEAM, is_all=True)
"""The scope of Dayfly itself, and of an operator of the default team."""


@dataclass(frozen=True)
class Reference:
    """An id or a name of a cluster or a pool, as a caller with this scope gave it."""

    text: str
    scope: Scope = EVERYWHERE

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of(cls, given: str | Reference) -> Reference:
        """A plain text is Dayfly's own, and may mean any team's."""
        return given if isinstance(given, Reference) else cls(given)


@dataclass(frozen=True)
class Bounds:
    """The most that a principal may request for one cluster, all its nodes together; None: as its team."""

    max_ttl_seconds: int | None = None
    """A bound also means that the cluster has a time to live, and that no hold keeps it for longer."""
    max_nodes: int | None = None
    max_vcpus: int | None = None
    max_memory_mib: int | None = None
    max_disk_gib: int | None = None


UNBOUNDED: Final = Bounds()


@dataclass(frozen=True)
class Principal:
    """A caller. `name`: unique in the installation and free of secrets, for the audit: `token:0f3a`, `uid:0`."""

    name: str
    team: str
    role: Role
    bounds: Bounds = UNBOUNDED

    @property
    def scope(self) -> Scope:
        return Scope(self.team, is_all=self.role is Role.OPERATOR)


UNAUTHENTICATED: Final = "unauthenticated"
"""The name on record of a caller that proved no principal, and of the creator of what an older release created."""
