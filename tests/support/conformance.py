"""A stand-in for the node image's program of conformance tests, for FakeSsh: its runs advance with each look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from dayfly.drivers.interfaces import CommandResult, SshTarget
from dayfly.testing.fakes import FakeSsh
from tests.support.specs import CONFORMANCE

ONE, TWO = CONFORMANCE.specs
NO_SPEC: Final = 3


@dataclass
class _Run:
    specs: tuple[str, ...]
    looks: int = 0


@dataclass
class ConformanceProgram:
    """With each look at its status one more spec of a run has ended. `outcomes`: spec → outcome, by default passed.

    `started` has the specs of each run that began. Its runs are known by their names only: no machine forgets them.
    """

    known: Sequence[str] = CONFORMANCE.specs
    outcomes: dict[str, str] = field(default_factory=dict)
    started: list[tuple[str, ...]] = field(default_factory=list)
    stopped: int = 0
    stuck: bool = False
    lost: bool = False
    runs: dict[str, _Run] = field(default_factory=dict)

    def installed(self, ssh: FakeSsh) -> ConformanceProgram:
        ssh.on(CONFORMANCE.program, self)
        return self

    def __call__(self, target: SshTarget, command: str, stdin: bytes) -> CommandResult:
        match command.split():
            case [_, "start", run, seconds]:
                assert int(seconds) > 0
                return self._start(run, tuple(stdin.decode().splitlines()))
            case [_, "status", run]:
                return CommandResult(0, self._status(run), "")
            case [_, "report", run]:
                return CommandResult(0, f"<testsuite of {run}>", "")
            case [_, "stop"]:
                self.stopped += 1
                return CommandResult(0, "", "")
        return CommandResult(2, "", "usage")

    def _start(self, name: str, wanted: tuple[str, ...]) -> CommandResult:
        if unknown := [one for one in wanted if one not in self.known]:
            return CommandResult(NO_SPEC, "", f"no conformance spec is called or matches '{unknown[0]}'\n")
        run = self.runs.get(name)
        if run is None or (self._has_ended(run) and "failed" in self.outcomes.values()):
            self.runs[name] = _Run(wanted)
            self.started.append(wanted)
        return CommandResult(0, "", "")

    def _status(self, name: str) -> str:
        run = self.runs.get(name)
        if run is None:
            return "state\tnone\n"
        if not self.stuck:
            run.looks += 1
        ended = self._has_ended(run)
        state = "lost" if self.lost else "ended" if ended else "running"
        lines = [f"state\t{state}", f"total\t{len(run.specs)}"]
        for spec in run.specs[: run.looks - 1 if run.looks else 0]:
            outcome = self.outcomes.get(spec, "passed")
            lines.append(f"result\t{outcome}\t38\t{spec}\t{'it broke' if outcome == 'failed' else ''}")
        if state == "running":
            at = max(0, run.looks - 1)
            lines.append(f"current\t{at + 1}\t{run.specs[at]}")
        return "".join(f"{line}\n" for line in lines)

    def _has_ended(self, run: _Run) -> bool:
        return run.looks > len(run.specs)
