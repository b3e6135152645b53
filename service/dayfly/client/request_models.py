"""Bodies of requests. Not here: how they are sent (operations/)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from dayfly.client.models import HoldRequest, SizeRequest
from dayfly.client.pool_models import Period

IMAGE_SIZES: Final = SizeRequest()


@dataclass(frozen=True)
class ShapeRequest:
    """What machines are made of, and whose they are. None, and sizes of None: the server and the image decide."""

    image: str
    workers: int
    control_plane: SizeRequest
    worker: SizeRequest
    readiness: str | None
    owner: str | None

    def body(self) -> dict[str, object]:
        return _given(
            {
                "image": self.image,
                "control_plane": self.control_plane.model_dump(exclude_none=True),
                "workers": {"count": self.workers, **self.worker.model_dump(exclude_none=True)},
                "readiness": self.readiness,
                "owner": self.owner,
            }
        )


@dataclass(frozen=True)
class ClusterRequest(ShapeRequest):
    """A cluster as a caller asks for it."""

    name: str | None
    labels: Mapping[str, str]
    ttl_seconds: int | None
    heartbeat_interval_seconds: int | None = None
    restart: str | None = None
    isolation: str | None = None
    idle_seconds: int | None = None
    hold: HoldRequest | None = None

    def body(self) -> dict[str, object]:
        fields = {
            "name": self.name,
            "labels": dict(self.labels),
            "ttl_seconds": self.ttl_seconds,
            "heartbeat_interval_seconds": self.heartbeat_interval_seconds,
            "restart": self.restart,
            "isolation": self.isolation,
            "idle_seconds": self.idle_seconds,
            "hold": _hold(self.hold) if self.hold else None,
        }
        return {**super().body(), **_given(fields)}


@dataclass(frozen=True)
class PoolRequest(ShapeRequest):
    """A pool as a caller asks for it."""

    name: str
    size: int
    maximum: int | None
    schedule: Sequence[Period]
    max_age_seconds: int | None

    def body(self) -> dict[str, object]:
        fields = {
            "name": self.name,
            "size": self.size,
            "maximum": self.maximum,
            "schedule": _schedule(self.schedule),
            "max_age_seconds": self.max_age_seconds,
        }
        return {**super().body(), **_given(fields)}


class Keep(Enum):
    """The type of KEEP: None means something else where a value can be taken away."""

    KEEP = "keep"


KEEP: Final[Literal[Keep.KEEP]] = Keep.KEEP
"""What is not to be changed."""


@dataclass(frozen=True)
class ClusterChanges:
    """What is to be different. `labels` replace all; None takes away what was."""

    ttl_seconds: int | Keep | None = KEEP
    labels: Mapping[str, str] | Keep = KEEP
    hold: HoldRequest | Keep | None = KEEP
    idle_seconds: int | Keep | None = KEEP

    def body(self) -> dict[str, object]:
        fields: dict[str, object] = {
            "ttl_seconds": self.ttl_seconds,
            "labels": self.labels if isinstance(self.labels, Keep) else dict(self.labels),
            "hold": _hold(self.hold) if isinstance(self.hold, HoldRequest) else self.hold,
            "idle_seconds": self.idle_seconds,
        }
        return {key: value for key, value in fields.items() if value is not KEEP}


@dataclass(frozen=True)
class PoolChanges:
    """What of a pool is to be different; None: it stays."""

    size: int | None = None
    maximum: int | None = None
    schedule: Sequence[Period] | None = None
    max_age_seconds: int | None = None

    def body(self) -> dict[str, object]:
        schedule = None if self.schedule is None else _schedule(self.schedule)
        fields = {"size": self.size, "maximum": self.maximum, "schedule": schedule}
        return _given({**fields, "max_age_seconds": self.max_age_seconds})


def _schedule(periods: Sequence[Period]) -> list[dict[str, object]]:
    return [period.model_dump(mode="json") for period in periods]


def _given(fields: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in fields.items() if value is not None}


def _hold(hold: HoldRequest) -> dict[str, object]:
    return hold.model_dump(mode="json", exclude_none=True)
