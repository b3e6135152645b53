"""The benchmarks of scale and of streams run to their end with small numbers.

Not here: their figures, which need a quiet machine.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench import scale, stream

_FEW_CLAIMS = {"claims": 2, "members": 4, "burst": 2, "bursts": 1, "copies": 2}
FEW = {"clusters": 3, "callers": 2, "alone": 1, **_FEW_CLAIMS, "records": 40, "rounds": 2, "workers": 1}


def test_every_part_runs_and_is_reported(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    few = [f"--{name}={value}" for name, value in FEW.items()]
    rest = ["--idle-seconds=0.2", "--numbers", "2", "4", "--database", "sqlite", "--no-check", "--json", str(report)]
    assert scale.main([*few, *rest]) == 0
    told = json.loads(report.read_text())
    figures = told["figures"]["sqlite"]
    assert set(told["aims"]) == {end for end in told["aims"] if any(name.endswith(end) for name in figures)}
    assert figures["list_records"] == figures["list_all_found"] == 40
    assert figures["burst_claims_rounds_all_served"] == figures["burst_keyed_claims_rounds_all_served"] == 1
    assert all(value >= 0 for name, value in figures.items() if not name.endswith("_growth"))


def test_subscribers_miss_nothing_over_restarts(tmp_path: Path) -> None:
    report = tmp_path / "figures.json"
    assert stream.main(["--subscribers=50", "--events=30", "--json", str(report)]) == 0
    figures = json.loads(report.read_text())["figures"]
    assert (figures["missed"], figures["repeated"], figures["out_of_order"]) == (0, 0, 0)
    assert (figures["restarts"], figures["events"], figures["reconnected"]) == (2, 40, 50)
