"""RESULTS.md, of the records in results/: passed, failed with reason, cannot run here with reason, not run yet."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.conformance.lists import FOLDER, Exclusion, excluded, read_exclusions
from tests.conformance.records import KINDS, Kind, Record

RECORDS: Final = FOLDER / "results"
RESULTS: Final = FOLDER / "RESULTS.md"
_HEAD: Final = """\
# Kubernetes' conformance tests

`python -m tests.conformance table` writes this file from the records of runs: do not edit it. The specs are those of
Kubernetes' own `e2e.test`, of the version of the cluster; each has a process of its own
(`tests/conformance/__main__.py`). *cold*: clusters that booted from the image; *fork*: forks of a template.
"""
_NOTHING: Final = "\nThe tests have not run yet.\n"

Records = Mapping[Kind, Record]


def read_records(folder: Path = RECORDS) -> Records:
    """The records of the kinds that ran."""
    paths = {kind: folder / f"{kind}.json" for kind in KINDS}
    return {kind: Record.model_validate_json(path.read_text()) for kind, path in paths.items() if path.exists()}


def keep_records(source: Path, target: Path = RECORDS) -> None:
    """Copy the records of runs to the repository."""
    target.mkdir(exist_ok=True)
    for kind in KINDS:
        if (source / f"{kind}.json").exists():
            shutil.copyfile(source / f"{kind}.json", target / f"{kind}.json")


def render(records: Records, exclusions: Iterable[Exclusion]) -> str:
    """RESULTS.md."""
    if not records:
        return _HEAD + _NOTHING
    specs = sorted({spec for record in records.values() for spec in record.specs})
    cannot = excluded(specs, exclusions)
    can = [spec for spec in specs if spec not in cannot]
    return "".join(
        (
            _HEAD,
            _summary(records, specs, cannot),
            _failures(records, can),
            _section("Cannot run here", ("spec", "reason"), list(cannot.items())),
            _passes(records, can),
        )
    )


def write() -> None:
    RESULTS.write_text(render(read_records(), read_exclusions()))


def _summary(records: Records, specs: Sequence[str], cannot: Mapping[str, str]) -> str:
    rows = []
    for kind, record in records.items():
        ends = [record.results[spec].outcome for spec in specs if spec in record.results and spec not in cannot]
        last = max((result.at for result in record.results.values()), default=None)
        rows.append(
            (
                kind,
                record.subject.kubernetes,
                *(str(ends.count(outcome)) for outcome in ("passed", "failed", "skipped")),
                str(len(cannot)),
                str(len(specs) - len(cannot) - len(ends)),
                last.date().isoformat() if last is not None else "",
            )
        )
    head = (
        "cluster",
        "Kubernetes",
        "passed",
        "failed",
        "skip themselves",
        "cannot run here",
        "not run yet",
        "last run",
    )
    return "\n" + _table(head, rows)


def _failures(records: Records, specs: Iterable[str]) -> str:
    rows = [
        (spec, kind, "fails" if result.outcome == "failed" else "skips itself", result.reason)
        for spec in specs
        for kind, record in records.items()
        if (result := record.results.get(spec)) is not None and result.outcome != "passed"
    ]
    return _section("Failed", ("spec", "cluster", "result", "reason"), rows)


def _passes(records: Records, specs: Iterable[str]) -> str:
    rows = []
    for spec in specs:
        results = [record.results.get(spec) for record in records.values()]
        seconds = [f"{one.seconds:.0f}" if one and one.outcome == "passed" else "" for one in results]
        if any(seconds):
            rows.append((spec, *seconds))
    return _section("Passed, with seconds", ("spec", *records), rows)


def _section(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return f"\n## {title}\n\n" + (_table(head, rows) if rows else "None.\n")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    """In a table of Markdown, only `|` and line ends have a meaning that a spec's name may not have."""
    return " ".join(text.replace("|", r"\|").split())
