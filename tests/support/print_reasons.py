"""Prints the first failures of each stage: `python tests/support/print_reasons.py FOLDER LINES`, for tests/run.sh.

FOLDER has a folder for each stage, with the files of reasons.py. At most LINES lines are printed: of a long output, a
reader may keep only the end. It needs only the standard library.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Final

MAX_SHOWN: Final = 6
MAX_MESSAGE_LINES: Final = 12
MAX_MESSAGE_LENGTH: Final = 900
MAX_EVIDENCE_LINES: Final = 25
WIDTH: Final = 200
# Few lines are granted in this order: so many of each message, so many of the first one, all evidence, the rest.
_FIRST_LINES: Final = 3
_NEXT_LINES: Final = 6
_VARYING: Final = re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{6,}\b|\d+")
"""Ids and numbers, which differ between failures of the same reason."""


@dataclass(frozen=True)
class Failure:
    """A failed phase of a test: a line of a file of reasons.py."""

    stage: str
    at: float
    test: str
    phase: str
    message: str
    evidence: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Equal for failures of one reason: fixtures of many tests fail alike, but for ids and times."""
        same = self.message if self.phase == "call" else _VARYING.sub("#", self.message)
        return (self.stage, self.phase, same)


@dataclass(frozen=True)
class Group:
    """Failures of one reason: the first one stands for all."""

    first: Failure
    count: int

    def title(self) -> str:
        clock = time.strftime("%H:%M:%S", time.gmtime(self.first.at))
        more = f"; {self.count - 1} more alike" if self.count > 1 else ""
        return f"{clock} {self.first.stage}: {self.first.test} ({self.first.phase}{more})"


def read(folder: Path) -> list[Failure]:
    """All failures of all stages, in order of time."""
    found = []
    for file in folder.glob("*/*.jsonl"):
        # The last line is incomplete if the process was killed.
        whole = file.read_text(encoding="utf-8").rpartition("\n")[0]
        found += [Failure(file.parent.name, **json.loads(line)) for line in whole.splitlines()]
    return sorted(found, key=lambda failure: failure.at)


def grouped(failures: Iterable[Failure]) -> list[Group]:
    """A group for each reason, in order of time."""
    firsts: dict[tuple[str, str, str], Failure] = {}
    counts: Counter[tuple[str, str, str]] = Counter()
    for failure in failures:
        firsts.setdefault(failure.key, failure)
        counts[failure.key] += 1
    return [Group(first, counts[key]) for key, first in firsts.items()]


def chosen(groups: Sequence[Group]) -> list[Group]:
    """The first of each stage, then the second of each stage, and so on; in order of time."""
    stages: dict[str, list[Group]] = {}
    for group in groups:
        stages.setdefault(group.first.stage, []).append(group)
    by_rank = (group for rank in zip_longest(*stages.values()) for group in rank if group is not None)
    shown = [group for group, _ in zip(by_rank, range(MAX_SHOWN), strict=False)]
    return sorted(shown, key=lambda group: group.first.at)


def folded(text: str) -> list[str]:
    """The text's lines, none of them longer than WIDTH."""
    lines = (line.rstrip() for line in text.splitlines())
    return [part for line in lines if line for part in textwrap.wrap(line, WIDTH, drop_whitespace=False)]


def cut(lines: Sequence[str], count: int) -> list[str]:
    """At most `count` of the lines: the middle is left out."""
    if len(lines) <= count:
        return list(lines)
    if count < 3:
        return [*lines[: count - 1], f"{lines[count - 1][: WIDTH - 2]} …"] if count else []
    tail = (count - 1) // 3
    head = count - 1 - tail
    return [*lines[:head], f"… {len(lines) - head - tail} lines …", *lines[len(lines) - tail :]]


def message_lines(text: str, count: int = MAX_MESSAGE_LINES) -> list[str]:
    """The message in at most `count` lines, and MAX_MESSAGE_LENGTH characters if that takes fewer lines."""
    lines = folded(text)
    found = cut(lines, count)
    while len("\n".join(found)) > MAX_MESSAGE_LENGTH and count > 3:
        count -= 1
        found = cut(lines, count)
    return found


def report(failures: Sequence[Failure], lines: int) -> Iterator[str]:
    """The first failures with their messages and evidence, and how many more failed."""
    groups = grouped(failures)
    shown = chosen(groups)
    # A line for each title, and the last line.
    for group, message, evidence in shares(shown, lines - len(shown) - 1):
        yield group.title()
        yield from (f"    {line}" for line in message)
        yield from (f"  | {line}" for line in evidence)
    rest = Counter(failure.stage for failure in failures)
    for group in shown:
        rest[group.first.stage] -= group.count
    if named := [f"{count} of {stage}" for stage, count in rest.items() if count > 0]:
        yield f"{rest.total()} more failed: {', '.join(named)}"


def shares(shown: Sequence[Group], lines: int) -> Iterator[tuple[Group, list[str], list[str]]]:
    """Share the lines out: each group's lines of its message and of its evidence."""
    messages = [message_lines(group.first.message) for group in shown]
    evidence = [folded(group.first.evidence)[:MAX_EVIDENCE_LINES] for group in shown]
    counts = {id(part): 0 for part in (*messages, *evidence)}

    def grant(parts: Sequence[list[str]], limit: int) -> None:
        nonlocal lines
        for part in parts:
            more = max(0, min(limit - counts[id(part)], len(part) - counts[id(part)], lines))
            counts[id(part)] += more
            lines -= more

    grant(messages, _FIRST_LINES)
    grant(messages[:1], _NEXT_LINES)
    grant(evidence, MAX_EVIDENCE_LINES)
    grant(messages, MAX_MESSAGE_LINES)
    for group, message, found in zip(shown, messages, evidence, strict=True):
        yield group, message_lines(group.first.message, counts[id(message)]), found[: counts[id(found)]]


if __name__ == "__main__":
    print(*report(read(Path(sys.argv[1])), int(sys.argv[2])), sep="\n")
