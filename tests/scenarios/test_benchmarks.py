"""The benchmark of scale runs to its end, with few of everything. Its figures are for a quiet machine."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench import scale

FEW = {"clusters": 3, "callers": 2, "alone": 1, "claims": 2, "members": 4, "records": 40, "rounds": 2, "workers": 1}


def test_every_part_runs_and_is_reported(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    few = [f"--{name}={value}" for name, value in FEW.items()]
    rest = ["--idle-seconds=0.2", "--numbers", "2", "4", "--database", "sqlite", "--no-check", "--json", str(report)]
    assert scale.main([*few, *rest]) == 0
    told = json.loads(report.read_text())
    figures = told["figures"]["sqlite"]
    assert set(told["aims"]) == {end for end in told["aims"] if any(name.endswith(end) for name in figures)}
    assert figures["list_records"] == figures["list_all_found"] == 40
    assert all(value >= 0 for name, value in figures.items() if not name.endswith("_growth"))
