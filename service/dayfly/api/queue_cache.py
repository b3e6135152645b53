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
    """A place in the queue, counted from 1; when it will be admitted, and ready. None: no place, or no telling."""

    position: int | None = None
    start_at: datetime | None = None
    ready_at: datetime | None = None


NOT_QUEUED: Final = QueuePosition()
"""Of a cluster that does not wait."""


@dataclass
class QueueCache:
    """The last look at a long queue, good for all who ask until then (as Clock.monotonic counts).

    Looking costs time in proportion to the queue's length. Where a thousand wait, each request that looked for itself
    would keep the next one from being answered.
    """

    positions: Mapping[str, QueuePosition] = field(default_factory=dict)
    good_until: float = -math.inf
