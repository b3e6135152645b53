"""Quotas: what one team may have at once, with the installation's default. Pure.

Not here: how what a team has is counted (store/quota_checks.py), and the share of the host that is free (scheduling/).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dayfly.errors import IsolationRequired, LongPollsExceeded, QuotaExceeded
from dayfly.vocabulary import Isolation, TeamIsolation

DEFAULT: Final = "*"
"""In place of a team: the installation's default. No team has this name."""
COUNTED: Final = (
    "clusters",
    "creating",
    "vcpus",
    "memory_mib",
    "disk_gib",
    "templates",
    "pool_members",
    "saved_gib",
)
"""Quotas of which a team has an amount at once. `creating`: clusters that are not ready yet. `saved_gib`: the disk of
templates and checkpoints. vCPUs, memory and disk are those of callers' clusters: templates and pools have their own.
"""
LONG_POLLS: Final = "long_polls"
"""Responses that are held: long polls, followed consoles, streams. Each process that serves the API counts its own."""
MAX_TTL: Final = "max_ttl_seconds"
NAMES: Final = (*COUNTED, LONG_POLLS, MAX_TTL)


@dataclass(frozen=True)
class Quota:
    """The limits of one team, by name; a name that is missing, or None, has no limit. `weight`: in the fair queue.

    `isolation`: of the clusters that it creates (isolation_of).
    """

    limits: Mapping[str, int | None] = field(default_factory=dict)
    weight: float = 1.0
    isolation: TeamIsolation = "shared"

    @property
    def is_limited(self) -> bool:
        return any(limit is not None for limit in self.limits.values())


@dataclass(frozen=True)
class Given:
    """What an operator gave for a team, or as the default. A limit that is missing is that of the default."""

    limits: Mapping[str, int | None] = field(default_factory=dict)
    weight: float | None = None
    isolation: TeamIsolation | None = None


def quota_of(team: Given | None, default: Given | None) -> Quota:
    """The quota of a team: its own, and where it has none the installation's default."""
    own, common = team or Given(), default or Given()
    weight = next((one.weight for one in (own, common) if one.weight is not None), 1.0)
    return Quota({**common.limits, **own.limits}, weight, own.isolation or common.isolation or "shared")


def first_exceeded(quota: Quota, used: Mapping[str, int], wanted: Mapping[str, int]) -> str | None:
    """The first quota that a request for `wanted` more would exceed; None: there is room for it.

    A quota that is exceeded already blocks only requests that need more of it.
    """
    for name in COUNTED:
        limit = quota.limits.get(name)
        if limit is not None and wanted.get(name, 0) > 0 and used.get(name, 0) + wanted[name] > limit:
            return name
    return None


def require_ttl(team: str, quota: Quota, ttl_seconds: int | None) -> None:
    """Raises QuotaExceeded for a cluster that would live longer than the team's clusters may."""
    limit = quota.limits.get(MAX_TTL)
    if limit is None or (ttl_seconds is not None and ttl_seconds <= limit):
        return
    asked = "none, which is without end" if ttl_seconds is None else f"{ttl_seconds}"
    message = f"ttl_seconds: clusters of team {team} live at most {limit} s, and the request has {asked}"
    raise QuotaExceeded(message, team=team, quota=MAX_TTL, limit=limit)


def isolation_of(team: str, quota: Quota, asked: Isolation | None) -> Isolation:
    """The isolation of a new cluster of the team; `asked`: that of the request, None: left out.

    Raises IsolationRequired where the team's clusters must be strict, and the request asks for another.
    """
    if quota.isolation == "strict_only" and asked == "shared":
        raise IsolationRequired(
            f"isolation: clusters of team {team} must be `strict`, and the request has `shared`: leave it out"
        )
    return asked or ("shared" if quota.isolation == "shared" else "strict")


def require_long_poll(team: str, quota: Quota, held: Mapping[str, int]) -> None:
    """Raises LongPollsExceeded where one more would be too many. `held`: those of the team now, by operation."""
    limit, used = quota.limits.get(LONG_POLLS), sum(held.values())
    if limit is not None and used >= limit:
        largest = tuple(sorted(held.items(), key=lambda one: (-one[1], one[0])))
        raise exceeded(team, LONG_POLLS, limit, used, 1, largest, LongPollsExceeded)


def exceeded(
    team: str,
    name: str,
    limit: int,
    used: int,
    wanted: int,
    largest: tuple[tuple[str, int], ...],
    kind: type[QuotaExceeded] = QuotaExceeded,
) -> QuotaExceeded:
    """The error of a request beyond a quota, with the names of what takes most of it."""
    by = f" ({', '.join(f'{one} {amount}' for one, amount in largest)})" if largest else ""
    message = f"{name}: team {team} may have {limit}, has {used}{by}, and the request needs {wanted} more"
    return kind(message, team=team, quota=name, limit=limit, used=used, wanted=wanted, largest=largest)


def limits_from(kept: Mapping[str, Any]) -> Mapping[str, int | None]:
    """Limits of a row; those of a newer release, which this one cannot check, are left out."""
    return {name: limit for name, limit in kept.items() if name in NAMES}
