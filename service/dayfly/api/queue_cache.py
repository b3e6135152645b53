"""Caches queue positions for a moment while the queue is long.

Not here: their computation (clusters/queue_position.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final


@dataclass(frozen=True)
class QueuePosition:
    """Position in the queue, from 1, and estimated times of admission and ready. None: not queued, or unknown."""

    position: int | None = None
    start_at: datetime | None = None
    ready_at: datetime | None = None


NOT_QUEUED: Final = QueuePosition()
"""The position of a cluster that does not wait."""


@dataclass
class QueueCache:
    """Positions that are valid until `good_until` (Clock.monotonic).

    The cost of the computation grows with the queue. With a thousand waiting clusters, a computation for each request
    would block the event loop.
    """

    positions: Mapping[str, QueuePosition] = field(default_factory=dict)
    good_until: float = -math.inf
