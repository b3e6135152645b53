"""A fence around what is saved in a volume: whose claim of a cluster another has taken over changes nothing there.

A worker that was suspended may come back in the middle of a call. The store knows it by its lease's token, but what it
does to files it does without asking the store. So a volume remembers the highest number of a claim that has changed
anything in it, and refuses all lower ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REFUSED: Final = 75
"""The exit code of a script behind a fence: a later claim has been there."""

PASS: Final = f"""
set -eu
exec 9>>"$1"
flock 9
passed=$(cat "$1")
[ "${{passed:-0}}" -le "$2" ] || exit {REFUSED}
[ "${{passed:-0}}" -eq "$2" ] || echo "$2" >"$1"
shift 2
"""
"""Begins such a script, whose first arguments are Fence.arguments. Nobody else is behind the fence while it runs."""


@dataclass(frozen=True)
class Fence:
    """`path`: the volume's file that remembers, as containers see it. `number`: of the claim (Cluster.fence)."""

    path: str
    number: int

    @property
    def arguments(self) -> tuple[str, str]:
        return self.path, str(self.number)
