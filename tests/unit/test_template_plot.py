"""The plot of benchmark figures: each figure has a bar, as long as its duration."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.bench.template_plot import Report, plot, read

FIGURES = {"cold_seconds": 8.0, "fork_seconds": 2.0, "forks": 5.0, "forks_mib": 400.0, "booted_mib": 320.0}
REPORT = Report("2026-01-01T00:00:00+00:00", "bare <&>", 1, "tcg", 2, "Linux", FIGURES)
_SVG = "{http://www.w3.org/2000/svg}"


def test_it_is_a_picture_with_a_bar_for_each_figure() -> None:
    root = ET.fromstring(plot([REPORT, REPORT]))  # noqa: S314 - our own
    bars = [float(one.attrib["width"]) for one in root.iter(f"{_SVG}rect")][1:]
    assert len(bars) == 2 * 4
    assert bars[0] == 4 * bars[1]
    assert bars[2] == 4 * bars[3], "five booted machines beside five forks"
    texts = [one.text for one in root.iter(f"{_SVG}text")]
    assert {"from nothing", "8.0 s", "fork", "2.0 s", "5 booted", "1600 MiB", "5 forks", "400 MiB"} <= set(texts)


def test_a_report_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps({**REPORT.__dict__, "aims": {}}))
    assert read(tmp_path / "report.json") == REPORT
