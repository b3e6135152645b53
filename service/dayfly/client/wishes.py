"""What callers ask for, as the bodies of requests. Not here: how they are sent (calls.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from dayfly.client.models import HoldRequest, SizeRequest

IMAGE_SIZES: Final = SizeRequest()


@dataclass(frozen=True)
class Wish:
    """A cluster as a caller asks for it. None, and sizes of None: the server and the image decide."""

    name: str | None
    image: str
    workers: int
    control_plane: SizeRequest
    worker: SizeRequest
    labels: Mapping[str, str]
    ttl_seconds: int | None
    readiness: str | None
    owner: str | None = None
    heartbeat_interval_seconds: int | None = None
    restart: str | None = None
    hold: HoldRequest | None = None

    def body(self) -> dict[str, object]:
        fields = {
            "name": self.name,
            "image": self.image,
            "control_plane": self.control_plane.model_dump(exclude_none=True),
            "workers": {"count": self.workers, **self.worker.model_dump(exclude_none=True)},
            "labels": dict(self.labels),
            "ttl_seconds": self.ttl_seconds,
            "readiness": self.readiness,
            "owner": self.owner,
            "heartbeat_interval_seconds": self.heartbeat_interval_seconds,
            "restart": self.restart,
            "hold": _hold(self.hold) if self.hold else None,
        }
        return {key: value for key, value in fields.items() if value is not None}


class Keep(Enum):
    """The type of KEEP: None means something else where a value can be taken away."""

    KEEP = "keep"


KEEP: Final[Literal[Keep.KEEP]] = Keep.KEEP
"""What is not to be changed."""


@dataclass(frozen=True)
class Changes:
    """What is to be different. `labels` replace all; a hold of None releases it."""

    ttl_seconds: int | Keep | None = KEEP
    labels: Mapping[str, str] | Keep = KEEP
    hold: HoldRequest | Keep | None = KEEP

    def body(self) -> dict[str, object]:
        fields: dict[str, object] = {
            "ttl_seconds": self.ttl_seconds,
            "labels": self.labels if isinstance(self.labels, Keep) else dict(self.labels),
            "hold": _hold(self.hold) if isinstance(self.hold, HoldRequest) else self.hold,
        }
        return {key: value for key, value in fields.items() if value is not KEEP}


def _hold(hold: HoldRequest) -> dict[str, object]:
    return hold.model_dump(mode="json", exclude_none=True)
