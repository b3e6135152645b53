"""Teams, which own clusters, templates, pools, bakes and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Team:
    """A team. `name`: the `owner` of what the team has; it never changes."""

    id: str
    name: str
    description: str
    created_at: datetime
