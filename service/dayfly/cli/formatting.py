"""Durations, labels and tables as text; durations and labels from text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import typer

from dayfly.schemas.cluster_requests import PortRequest
from dayfly.schemas.clusters import NodeSize, Workers

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?[smhd]?)(?:\d+(?:\.\d+)?[smhd])*")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All but tabulator and newline."""
_BREAK: Final = re.compile(r"\r\n|[\t-\r\x85\u2028\u2029]")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


def parse_duration(given: str | float) -> float:
    """`90`, `90s`, `10m`, `1h30m`, `2d` → seconds. A default value is a number. Raises BadParameter."""
    text = str(given)
    if not _DURATION.fullmatch(text):
        raise typer.BadParameter(f"{text!r} is not a duration: write 90, 90s, 10m, 1h30m or 2d")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def parse_labels(pairs: Iterable[str]) -> dict[str, str]:
    """`key=value` pairs. Raises BadParameter."""
    labels: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{pair!r} is not a label: write key=value")
        if labels.setdefault(key, value) != value:
            raise typer.BadParameter(f"two values for label {key!r}: a cluster has one value for each key")
    return labels


def parse_port(text: str) -> PortRequest:
    """`web=30080`, `web=node02:30080`, `web=192.168.67.10:80`. Raises BadParameter."""
    name, _, target = text.partition("=")
    place, _, port = target.rpartition(":")
    field = "address" if "." in place else "node"
    try:
        return PortRequest.model_validate({"name": name, "port": int(port)} | ({field: place} if place else {}))
    except ValueError as error:
        message = f"{text!r} is not a port to publish: write NAME=PORT, NAME=NODE:PORT or NAME=ADDRESS:PORT"
        raise typer.BadParameter(f"{message}, as in web=node02:30080") from error


def format_duration(seconds: float) -> str:
    """`0.4 s`, `12.3 s`, `4 min 05 s`, `2 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_size(size_bytes: int) -> str:
    """`0 MiB`, `130 MiB`, `1.5 GiB`."""
    mib = size_bytes / 2**20
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB"


def format_age(then: datetime) -> str:
    return format_duration(max(0.0, (datetime.now(UTC) - then).total_seconds()))


def format_time(at: datetime) -> str:
    """`at 2026-01-31 18:00:00 UTC, in 1 h 20 min`; a past time without the distance."""
    seconds = (at - datetime.now(UTC)).total_seconds()
    distance = f", in {format_duration(seconds)}" if seconds > 0 else ""
    return f"at {at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC{distance}"


def printable(text: str) -> str:
    """`text` with control characters as `\\x1b`: what a guest prints must not command the terminal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def printable_line(text: str) -> str:
    """`text` as `printable`, and as one line: a message must not look like two."""
    return printable(_BREAK.sub(" ", text))


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as wide as its cells, independent of the terminal's width, so that its output can be piped."""
    table = [header, *([printable_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table)
    return "\n".join(line.rstrip() for line in lines)


def format_facts(facts: Mapping[str, str | None]) -> str:
    """One line for each fact but those that are None, the names in a column."""
    return "\n".join(f"{name:<12}{printable_line(fact)}" for name, fact in facts.items() if fact is not None)


def format_nodes(first: NodeSize, workers: Workers) -> dict[str, str]:
    """The facts `first node` and `workers`."""
    sizes = f"{workers.count} x {workers.vcpus} vCPUs, {workers.memory_mib} MiB, {workers.disk_gib} GiB"
    return {
        "first node": f"{first.vcpus} vCPUs, {first.memory_mib} MiB memory, {first.disk_gib} GiB disk",
        "workers": sizes if workers.count else "none",
    }
