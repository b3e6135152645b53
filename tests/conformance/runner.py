"""Runs lists in pieces, each on a cluster prepared for it, and keeps each result. Not here: one spec (e2e.py)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.conformance.clusters import Target
from tests.conformance.e2e import SPEC_SECONDS, EndToEnd, Unfit
from tests.conformance.lists import choose, read_exclusions
from tests.conformance.programs import Programs
from tests.conformance.records import RecordFile, Subject

PIECE: Final = 20
Say = Callable[[str], None]


def run_list(
    name: str,
    target: Target,
    programs: Programs,
    results: Path,
    say: Say,
    *,
    piece: int = PIECE,
    spec_seconds: float = SPEC_SECONDS,
    again: str | None = None,
) -> dict[str, str]:
    """Run the list `short` or `long`; the specs that have not passed, each with its reason.

    `results` gets the record, the reports and the logs of the cluster's kind. `again`: as RecordFile.open.
    Raises ListError, NoSpecs, OtherRecord, Unfit, NotForked, httpx.HTTPError, ClientError.
    """
    end_to_end = EndToEnd(programs.end_to_end, programs.kubectl, results / target.kind, spec_seconds)
    known = end_to_end.specs()
    specs = choose(name, known, read_exclusions())
    subject = Subject(kind=target.kind, image=target.image, kubernetes=target.kubernetes, programs=programs.key)
    results.mkdir(parents=True, exist_ok=True)
    file = RecordFile.open(results / f"{target.kind}.json", subject, known, again=again)
    runner = Runner(end_to_end, target.kubeconfig, lambda: target.prepare(programs.archives()), file, say)
    try:
        runner.run(specs, piece)
    finally:
        end_to_end.write_merged(specs, results / f"{target.kind}-{name}.xml")
    failed = file.record.not_passed(specs)
    say(f"{len(specs) - len(failed)} of {len(specs)} specs have passed; results: {results}")
    return {spec: file.record.results[spec].reason for spec in failed}


@dataclass(frozen=True)
class Runner:
    """`prepare` resets the cluster, if it can be reset, and pushes the images."""

    end_to_end: EndToEnd
    kubeconfig: Path
    prepare: Callable[[], None]
    file: RecordFile
    say: Say

    def run(self, specs: Sequence[str], piece: int = PIECE) -> bool:
        """Run the specs without a result; whether all of `specs` have passed, now or before.

        A spec that is interrupted has no result. Raises Unfit if a cluster that was just prepared is not fit for specs.
        """
        wanted = tuple(specs)
        todo = self.file.record.unfinished(wanted)
        if len(todo) < len(wanted):
            self.say(f"{len(wanted) - len(todo)} of {len(wanted)} specs have a result: they do not run again")
        began = time.monotonic()
        done = 0
        for start in range(0, len(todo), piece):
            part = todo[start : start + piece]
            last = start + len(part)
            self.say(f"{_clock(began)}  specs {start + 1} to {last} of {len(todo)}: preparing the cluster")
            self.prepare()
            for spec in part:
                done += 1
                self._one(spec, f"{done:3d}/{len(todo)}", began)
        return not self.file.record.not_passed(wanted)

    def _one(self, spec: str, number: str, began: float) -> None:
        try:
            result = self.end_to_end.run(spec, self.kubeconfig)
        except Unfit as unfit:
            # Left behind by an earlier spec, perhaps: a prepared cluster decides.
            self.say(f"{_clock(began)}  the cluster is not fit ({unfit}): preparing it again")
            self.prepare()
            result = self.end_to_end.run(spec, self.kubeconfig)
        self.file.add(spec, result)
        detail = f": {result.reason}" if result.reason else ""
        self.say(f"{_clock(began)}  {number}  {result.outcome}  {result.seconds:5.0f} s  {spec}{detail}")


def _clock(began: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - began), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
