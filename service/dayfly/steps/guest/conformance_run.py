"""A run of conformance specs on the control plane, by the program of the node image (domain/image.Conformance).

The run outlives the worker that starts it: another worker finds the run by its name, and waits for it. The program
(provisioning/ansible/roles/conformance/files/conformance) explains its commands.
Not here: how long a run is waited for, and what becomes of its result (steps/conformance.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from dayfly.domain.image import Conformance
from dayfly.drivers.interfaces import CommandResult
from dayfly.errors import CommandFailed, ConformanceFailed, ImageBroken
from dayfly.steps.guest.node_scripts import kubernetes_node
from dayfly.steps.step import StepContext

State = Literal["none", "running", "ended", "lost"]

_STATES: Final[dict[str, State]] = {"none": "none", "running": "running", "ended": "ended", "lost": "lost"}
_NO_SPEC: Final = 3
"""The exit code of `start` where an entry of the list is no spec."""


@dataclass(frozen=True)
class SpecResult:
    """One spec that has ended: `passed`, `failed`, or `skipped` by itself. `reason` is a line."""

    outcome: str
    seconds: float
    name: str
    reason: str = ""


@dataclass(frozen=True)
class RunStatus:
    """`lost`: the run ended before its last spec. `current` is the spec that runs."""

    state: State
    total: int = 0
    results: tuple[SpecResult, ...] = ()
    current: str | None = None

    @property
    def failed(self) -> tuple[SpecResult, ...]:
        return tuple(one for one in self.results if one.outcome == "failed")

    @property
    def has_passed(self) -> bool:
        """Whether all specs have ended, none failed, and at least one ran."""
        return self.state == "ended" and not self.failed and any(one.outcome == "passed" for one in self.results)


async def start_run(context: StepContext, entries: Sequence[str], *, spec_seconds: float) -> None:
    """Start the run, unless it goes on or has passed; one that failed or was lost begins anew.

    Raises ConformanceFailed for an entry that is no spec, CommandFailed, SshTimeout.
    """
    stdin = "".join(f"{entry}\n" for entry in entries).encode()
    result = await _ask(context, f"start {_name(context)} {spec_seconds:.0f}", stdin)
    if result.exit_code == _NO_SPEC:
        raise ConformanceFailed(_last_line(result))
    _checked(result)


async def run_status(context: StepContext) -> RunStatus:
    """Raises CommandFailed, SshTimeout."""
    return _parsed(_checked(await _ask(context, f"status {_name(context)}")).stdout)


async def run_report(context: StepContext) -> str:
    """JUnit of the specs that have ended. Raises CommandFailed, SshTimeout."""
    return context.secrets.redact(_checked(await _ask(context, f"report {_name(context)}")).stdout)


async def stop_run(context: StepContext) -> None:
    """Raises CommandFailed, SshTimeout."""
    _checked(await _ask(context, "stop"))


def _name(context: StepContext) -> str:
    """A reset's run is another one."""
    return f"{context.cluster.id}.{context.cluster.generation}"


def _parsed(text: str) -> RunStatus:
    state, total, current, results = None, 0, None, list[SpecResult]()
    for line in text.splitlines():
        match line.split("\t"):
            case ["state", name]:
                state = _STATES.get(name)
            case ["total", count] if count.isdecimal():
                total = int(count)
            case ["current", _, name]:
                current = name
            case ["result", outcome, seconds, name, *reason] if seconds.isdecimal():
                results.append(SpecResult(outcome, float(seconds), name, " ".join(reason)))
    if state is None:
        raise CommandFailed("the program of the conformance tests has printed no state", evidence={"stdout": text})
    return RunStatus(state, total, tuple(results), current)


async def _ask(context: StepContext, arguments: str, stdin: bytes = b"") -> CommandResult:
    target, limit = await context.ssh_target(context.spec.nodes()[0]), context.limits.command
    command = f"{_conformance(context).program} {arguments}"
    return await context.drivers.ssh.run(target, command, stdin=stdin, timeout=limit)


def _conformance(context: StepContext) -> Conformance:
    conformance = kubernetes_node(context).conformance
    if conformance is None:
        raise ImageBroken(f"{context.spec.image} has no conformance tests")
    return conformance


def _checked(result: CommandResult) -> CommandResult:
    if result.exit_code != 0:
        words = f"the program of the conformance tests ended with exit code {result.exit_code}: {_last_line(result)}"
        raise CommandFailed(words, evidence={"stdout": result.stdout, "stderr": result.stderr})
    return result


def _last_line(result: CommandResult) -> str:
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
