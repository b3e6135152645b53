"""Plots figures of tests.bench.template: an SVG of plain bars, a panel for each run.

.venv/bin/python -m tests.bench.template_plot bare.json kubernetes.json >figures.svg
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path

from tests.bench.figures import Figures

_BARS = {
    "cold_seconds": "from nothing",
    "fork_seconds": "fork",
    "reset_seconds": "reset",
    "resume_seconds": "resume",
    "claim_seconds": "claim from a pool",
    "cold_api_seconds": "API answers, from nothing",
    "fork_api_seconds": "API answers, fork",
    "cold_nodes_ready_seconds": "nodes Ready, from nothing",
    "fork_nodes_ready_seconds": "nodes Ready, fork",
    "cold_pod_seconds": "a pod runs, from nothing",
    "fork_pod_seconds": "a pod runs, fork",
}
_WIDTH, _LABELS, _ROW, _BAR, _MARGIN, _VALUES = 760, 210, 22, 14, 16, 70
_COLD, _WARM, _INK = "#9aa5b1", "#2a7f9e", "#1f2933"


@dataclass(frozen=True)
class Report:
    """One run: when, of what, where, and its figures."""

    at: str
    image: str
    nodes: int
    accelerator: str
    cores: int
    machine: str
    figures: Figures


@dataclass(frozen=True)
class _Panel:
    """Bars on one scale: label, value, whether it is the slow variant."""

    title: str
    unit: str
    bars: Sequence[tuple[str, float, bool]]

    @property
    def height(self) -> int:
        return 2 * _ROW + _ROW * len(self.bars)


def plot(reports: Sequence[Report]) -> str:
    """The SVG's text. Each panel has its own scale."""
    panels = [panel for report in reports for panel in _panels(report)]
    height = sum(panel.height for panel in panels) + _MARGIN
    drawn, top = [], _MARGIN
    for panel in panels:
        drawn += _draw(panel, top)
        top += panel.height
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
            f'height="{height}" font-family="sans-serif" font-size="13" fill="{_INK}">',
            f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def _panels(report: Report) -> list[_Panel]:
    nodes = "one node" if report.nodes == 1 else f"{report.nodes} nodes"
    where = f"{report.cores} cores{', emulated' if report.accelerator == 'tcg' else ', KVM'}"
    what, figures = f"{report.image}, {nodes}, {where}", report.figures
    times = [(label, figures[name], name.startswith("cold")) for name, label in _BARS.items() if name in figures]
    panels = [_Panel(f"{what}: seconds from the request", "s", times)]
    if "forks_mib" in figures:
        number = int(figures["forks"])
        booted = (f"{number} booted", number * figures["booted_mib"], True)
        forked = (f"{number} forks", figures["forks_mib"], False)
        panels.append(_Panel(f"{what}: memory (proportional, MiB)", "MiB", [booted, forked]))
    return panels


def _draw(panel: _Panel, top: int) -> list[str]:
    scale = (_WIDTH - _LABELS - _VALUES - _MARGIN) / max(value for _, value, _ in panel.bars)
    drawn = [f'<text x="{_MARGIN}" y="{top + _BAR}" font-weight="bold">{escape(panel.title)}</text>']
    for row, (label, value, slow) in enumerate(panel.bars, start=1):
        y = top + row * _ROW + _ROW // 4
        length = max(1.0, value * scale)
        shown = f"{value:.0f}" if value >= 100 else f"{value:.1f}"
        drawn += [
            f'<text x="{_LABELS - 8}" y="{y + _BAR - 3}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{_LABELS}" y="{y}" width="{length:.1f}" height="{_BAR}" fill="{_COLD if slow else _WARM}"/>',
            f'<text x="{_LABELS + length + 6:.1f}" y="{y + _BAR - 3}">{shown} {panel.unit}</text>',
        ]
    return drawn


def read(path: Path) -> Report:
    """A report that tests.bench.template wrote."""
    told = json.loads(path.read_text())
    return Report(**{field.name: told[field.name] for field in fields(Report)})


if __name__ == "__main__":
    sys.stdout.write(plot([read(Path(name)) for name in sys.argv[1:]]))
