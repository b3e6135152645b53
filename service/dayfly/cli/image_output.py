"""The catalog of node images as text, for standard output."""

from __future__ import annotations

from collections.abc import Sequence

from dayfly.cli.formatting import format_age, format_duration, format_facts, format_size, format_table
from dayfly.client import ImageName, NodeImage

_COLUMNS = ("NAME", "KUBERNETES", "STATE", "USE", "FAILED", "SIZE", "AGE", "DIGEST")


def images(found: Sequence[NodeImage], *, wide: bool = False) -> str:
    rows = [(one.name, *_row(one), *(_more(one) if wide else ())) for one in found]
    return format_table((*_COLUMNS, "BASE", "ADD-ONS", "PARENTS") if wide else _COLUMNS, rows)


def name(one: ImageName) -> str:
    parts = [format_facts({"name": one.name, "stands for": _stands_for(one)})]
    if one.images:
        parts.append(format_table(_COLUMNS[1:], [_row(image) for image in one.images]))
    if one.history:
        rows = [(entry.event, _short(entry.digest), f"{format_age(entry.at)} ago") for entry in one.history]
        parts.append(format_table(("EVENT", "DIGEST", "WHEN"), rows))
    return "\n\n".join(parts)


def sentence(one: ImageName) -> str:
    return f"{one.name} stands for {one.promoted}"


def _stands_for(one: ImageName) -> str:
    if one.promoted is not None:
        return f"{one.promoted}, promoted"
    return f"{one.current}, the last that was baked or pulled" if one.current else "none"


def _row(one: NodeImage) -> tuple[str, ...]:
    return (
        one.kubernetes_version or "-",
        "promoted" if one.promoted else "current" if one.current and one.state == "present" else str(one.state),
        _use(one),
        _failed(one),
        format_size(one.size_bytes),
        format_duration(one.age_seconds),
        _short(one.digest),
    )


def _more(one: NodeImage) -> tuple[str, ...]:
    return one.base or "-", ", ".join(one.addons) or "-", ", ".join(map(_short, one.parents)) or "-"


def _use(one: NodeImage) -> str:
    """`3 clusters, 1 template`."""
    counts = (("cluster", one.use.clusters), ("template", one.use.templates), ("pool", one.use.pools))
    return ", ".join(f"{number} {what}{'' if number == 1 else 's'}" for what, number in counts if number) or "-"


def _failed(one: NodeImage) -> str:
    """`1 (4 %) in 7 d`."""
    outcomes = one.outcomes
    if outcomes.failure_rate is None:
        return "-"
    window = f"{outcomes.window_seconds / 86400:.3g} d"
    return f"{outcomes.failed} ({100 * outcomes.failure_rate:.0f} %) in {window}"


def _short(digest: str) -> str:
    """As the commands take it."""
    return digest.removeprefix("sha256:")[:12]
