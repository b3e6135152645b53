"""RESULTS.md is the table of the records, and of nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tests.conformance import table
from tests.conformance.lists import read_exclusions
from tests.conformance.records import Kind, Record, SpecResult, Subject

SPECS = ("[sig-a] one  [Conformance]", "[sig-a] two | three", "[sig-b] four", "[sig-c] five")
AT = datetime(2026, 11, 30, 1, 2, 3, tzinfo=UTC)


def record(kind: Kind, results: dict[str, SpecResult]) -> Record:
    subject = Subject(kind=kind, image="sha256:1", kubernetes="v1.20.2", programs="abc")
    return Record(subject=subject, specs=SPECS, results=results)


def test_results_md_is_what_the_records_give() -> None:
    assert table.RESULTS.read_text() == table.render(table.read_records(), read_exclusions()), (
        "run `python -m tests.conformance table`"
    )


def test_it_has_what_passed_failed_and_cannot_run() -> None:
    passed = SpecResult(outcome="passed", seconds=31.4, at=AT)
    failed = SpecResult(outcome="failed", seconds=600, reason="timed out", at=AT)
    cold, fork = record("cold", {SPECS[0]: passed, SPECS[1]: failed}), record("fork", {SPECS[0]: passed})
    lines = table.render({"cold": cold, "fork": fork}, read_exclusions("five => needs three nodes")).splitlines()
    assert "| cold | v1.20.2 | 1 | 1 | 0 | 1 | 1 | 2026-11-30 |" in lines
    assert "| fork | v1.20.2 | 1 | 0 | 0 | 1 | 2 | 2026-11-30 |" in lines
    assert r"| [sig-a] two \| three | cold | fails | timed out |" in lines
    assert "| [sig-c] five | needs three nodes |" in lines
    assert "| [sig-a] one [Conformance] | 31 | 31 |" in lines


def test_records_of_runs_are_kept(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    kept = record("cold", {SPECS[0]: SpecResult(outcome="passed", seconds=31.4, at=AT)})
    (tmp_path / "runs" / "cold.json").write_text(kept.model_dump_json())
    table.keep_records(tmp_path / "runs", tmp_path / "kept")
    assert table.read_records(tmp_path / "kept") == {"cold": kept}
