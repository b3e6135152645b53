"""Fencing of snapshot volumes: a worker whose claim another worker has taken over can change nothing there.

A suspended worker may return in the middle of a call. The store rejects its lease token, but file operations do not
ask the store. So a volume remembers the highest number of a claim that changed it, and refuses all lower numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REFUSED: Final = 75
"""The exit code of a fenced script when a later claim has changed the volume."""

PASS: Final = f"""
set -eu
exec 9>>"$1"
flock 9
passed=$(cat "$1")
[ "${{passed:-0}}" -le "$2" ] || exit {REFUSED}
[ "${{passed:-0}}" -eq "$2" ] || echo "$2" >"$1"
shift 2
"""
"""The beginning of a fenced script, whose first arguments are Fence.arguments. The script holds the fence's lock."""


@dataclass(frozen=True)
class Fence:
    """`path`: the volume's file with the highest number, inside containers. `number`: the claim's (Cluster.fence)."""

    path: str
    number: int

    @property
    def arguments(self) -> tuple[str, str]:
        return self.path, str(self.number)
