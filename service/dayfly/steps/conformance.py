"""The step `conformance`: the specs of the cluster's list pass, and the cluster is as ready as before.

The specs run on the control plane, one after the other, as a unit that outlives this worker: the next worker waits for
the same run. A run that failed, or that a reboot ended, begins anew with each attempt; a failed spec has no second one.
The list takes minutes or hours, and uses the cluster: so at the end, what `ready` promises is looked at once more.
Not here: which clusters run their list (domain/cluster/provisioning_plan.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from dayfly.domain.cluster.timeouts import TimeLimits
from dayfly.errors import CommandFailed, ConformanceFailed, Failure, SshTimeout
from dayfly.steps.guest.conformance_run import (
    RunStatus,
    SpecResult,
    run_report,
    run_status,
    start_run,
    stop_run,
)
from dayfly.steps.guest.node_scripts import kubelet_evidence
from dayfly.steps.observe.exit_guard import while_running
from dayfly.steps.ready import Ready
from dayfly.steps.step import Step, StepContext

T = TypeVar("T")

REPORT: Final = "junit.xml"
FAILURES: Final = "failed"
"""Names of evidence, which callers find below the step's: conformance/junit.xml."""
_LOOK_SECONDS: Final = 5.0
_SPARE_SECONDS: Final = 60.0
"""To collect evidence after the limit of the list."""


class Conformance(Step):
    def limit(self, limits: TimeLimits) -> float:
        answers = limits.nodes_ready + 4 * limits.command
        return limits.conformance + answers + Ready().limit(limits) + _SPARE_SECONDS

    async def check(self, context: StepContext) -> bool:
        try:
            status = await run_status(context)
        except (SshTimeout, CommandFailed):
            return False
        return status.has_passed and await Ready().check(context)

    async def apply(self, context: StepContext) -> None:
        try:
            await while_running(context, _run(context))
        except (ConformanceFailed, CommandFailed) as error:
            error.evidence |= await kubelet_evidence(context, context.spec.nodes())
            raise
        await Ready().apply(context)


async def _run(context: StepContext) -> None:
    limits, clock = context.limits, context.clock
    until = clock.monotonic() + limits.conformance

    async def start() -> None:
        await start_run(context, context.spec.conformance, spec_seconds=limits.conformance_spec)

    await _patiently(context, start)
    status = await _patiently(context, lambda: run_status(context))
    if status.results:
        context.progress(f"{len(status.results)} of {status.total} conformance specs have run already")
    before = RunStatus("running", results=status.results)
    while True:
        _tell(context, before, status)
        if status.state != "running":
            break
        if clock.monotonic() > until:
            await stop_run(context)
            await _fail(context, status, f"the list is not done after {limits.conformance:.0f} s, its limit")
        before = status
        await clock.sleep(_LOOK_SECONDS)
        status = await _patiently(context, lambda: run_status(context))
    if status.state != "ended":
        raise CommandFailed(f"the run of the conformance specs ended after {len(status.results)} of {status.total}")
    if not status.has_passed:
        await _fail(context, status, _story(status))


async def _patiently(context: StepContext, call: Callable[[], Awaitable[T]]) -> T:
    """The result of `call`. A spec may keep the node so busy that its sshd answers late. Raises as `call`."""
    until = context.clock.monotonic() + context.limits.nodes_ready
    while True:
        try:
            return await call()
        except SshTimeout:
            if context.clock.monotonic() > until:
                raise
        await context.clock.sleep(_LOOK_SECONDS)


def _tell(context: StepContext, before: RunStatus, now: RunStatus) -> None:
    """Progress: the specs that have ended since, and the one that runs."""
    for number, one in enumerate(now.results[len(before.results) :], start=len(before.results) + 1):
        reason = f": {one.reason}" if one.reason else ""
        context.progress(f"spec {number} of {now.total} {one.outcome} after {one.seconds:.0f} s: {one.name}{reason}")
    if now.current is not None and now.current != before.current:
        context.progress(f"spec {len(now.results) + 1} of {now.total} runs: {now.current}")


def _story(status: RunStatus) -> str:
    if not status.failed:
        return f"none of the {status.total} conformance specs has run: all of them skip themselves here"
    first, *others = status.failed
    more = f", and {len(others)} more" if others else ""
    return f"{len(status.failed)} of {status.total} conformance specs failed: {_line(first)}{more}"


async def _fail(context: StepContext, status: RunStatus, words: str) -> None:
    """Raises ConformanceFailed, with the failed specs and the report."""
    evidence = {FAILURES: "".join(f"{_line(one)}\n" for one in status.failed)}
    try:
        evidence[REPORT] = await run_report(context)
    except Failure as error:
        evidence[REPORT] = f"not available: {error.code}: {error.message}"
    raise ConformanceFailed(context.secrets.redact(words), evidence=evidence)


def _line(one: SpecResult) -> str:
    return f"{one.name}: {one.reason}" if one.reason else one.name
