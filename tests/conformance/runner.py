"""Runs lists in pieces, each on a cluster prepared for it, and keeps each result. Not here: one spec (e2e.py)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.conformance.clusters import Target
from tests.conformance.e2e import SPEC_SECONDS, EndToEnd, Unfit
from tests.conformance.lists import choose, read_exclusions
from tests.conformance.programs import Programs
from tests.conformance.records import RecordFile, SpecResult, Subject

PIECE: Final = 20
_SERIAL: Final = "[Serial]"
"""In the names of specs that need the cluster for themselves."""
Say = Callable[[str], None]


def run_list(
    name: str,
    target: Target,
    programs: Programs,
    results: Path,
    say: Say,
    *,
    piece: int = PIECE,
    jobs: int = 1,
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
    runner = Runner(end_to_end, target.kubeconfig, lambda: target.prepare(programs.archives()), file, say, jobs)
    try:
        runner.run(specs, piece)
    finally:
        end_to_end.write_merged(specs, results / f"{target.kind}-{name}.xml")
    failed = file.record.not_passed(specs)
    say(f"{len(specs) - len(failed)} of {len(specs)} specs have passed; results: {results}")
    return {spec: file.record.results[spec].reason for spec in failed}


@dataclass(frozen=True)
class Runner:
    """`prepare` resets the cluster, if it can be reset, and pushes the images. `jobs`: specs at once."""

    end_to_end: EndToEnd
    kubeconfig: Path
    prepare: Callable[[], None]
    file: RecordFile
    say: Say
    jobs: int = 1

    def run(self, specs: Sequence[str], piece: int = PIECE) -> bool:
        """Run the specs without a result; whether all of `specs` have passed, now or before.

        A spec that is interrupted has no result. Raises Unfit if a cluster that was just prepared is not fit for specs.
        """
        wanted = tuple(specs)
        todo = self.file.record.unfinished(wanted)
        if len(todo) < len(wanted):
            self.say(f"{len(wanted) - len(todo)} of {len(wanted)} specs have a result: they do not run again")
        began = time.monotonic()
        for start in range(0, len(todo), piece):
            part = todo[start : start + piece]
            last = start + len(part)
            self.say(f"{_clock(began)}  specs {start + 1} to {last} of {len(todo)}: preparing the cluster")
            self.prepare()
            self._piece([spec for spec in part if _SERIAL not in spec], self.jobs, began)
            self._piece([spec for spec in part if _SERIAL in spec], 1, began)
        return not self.file.record.not_passed(wanted)

    def _piece(self, specs: Sequence[str], jobs: int, began: float) -> None:
        left = list(specs)
        while left:
            before, unfit = len(left), self._together(left, jobs, began)
            left = [spec for spec in left if spec not in self.file.record.results]
            alone, jobs = jobs == 1, 1  # what is left has failed beside others, or has not begun
            if unfit is None:
                continue
            if alone and len(left) == before:
                raise unfit
            # Left behind by an earlier spec, perhaps: a prepared cluster decides.
            self.say(f"{_clock(began)}  the cluster is not fit ({unfit}): preparing it again")
            self.prepare()

    def _together(self, specs: Sequence[str], jobs: int, began: float) -> Unfit | None:
        """Run the specs, `jobs` at once, and keep their results; after an Unfit, which is returned, none begins.

        A failure beside other specs is no result: the time limits within the tests are those of an idle cluster.
        """
        unfit: Unfit | None = None
        with ThreadPoolExecutor(jobs) as pool:
            running = {pool.submit(self.end_to_end.run, spec, self.kubeconfig): spec for spec in specs}
            try:
                for ended in as_completed(running):
                    if ended.cancelled():
                        continue
                    spec = running[ended]
                    try:
                        if jobs > 1 and ended.result().outcome == "failed":
                            self.say(f"{_clock(began)}  failed beside others, runs again alone: {spec}")
                        else:
                            self._keep(spec, ended.result(), began)
                    except Unfit as error:
                        unfit = error
                        # Not by the pool's shutdown: as_completed would wait for what that cancels (CPython 3.11).
                        for waiting in running:
                            waiting.cancel()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.end_to_end.end_all()
                raise
        return unfit

    def _keep(self, spec: str, result: SpecResult, began: float) -> None:
        self.file.add(spec, result)
        detail = f": {result.reason}" if result.reason else ""
        number = f"{len(self.file.record.results):3d}"
        self.say(f"{_clock(began)}  {number}  {result.outcome}  {result.seconds:5.0f} s  {spec}{detail}")


def _clock(began: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - began), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
