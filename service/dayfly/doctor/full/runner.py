"""Runs trials in order: each has a time limit, and ends early when the service dies or the user interrupts.

The clean-up is the last trial. It always runs to completion. Not here: any trial.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from dayfly.clock import Clock
from dayfly.concurrency import uncancellable
from dayfly.doctor.full.faults import INTERRUPTED, Fault, fault_of
from dayfly.doctor.full.report import TrialResult

NOT_RUN: Final = "not_run"
_DEATH_SECONDS: Final = 2.0
"""A dying service closes its socket before its process ends: so long the runner waits for that end."""


@dataclass(frozen=True)
class Trial:
    """`run` returns a sentence about its result, and raises on failure. `needs`: trials that must be ok before.

    `limit` returns the time limit in seconds; it is called when the trial begins.
    """

    name: str
    run: Callable[[], Coroutine[Any, Any, str]]
    limit: Callable[[], float]
    needs: tuple[str, ...] = ()


class Watcher(Protocol):
    """Shows the progress of the examination: its trials, and the present trial's action."""

    def began(self, trial: str) -> None: ...

    def show_progress(self, text: str) -> None: ...

    def ended(self, result: TrialResult) -> None: ...


@dataclass(frozen=True)
class Runner:
    """`stop` interrupts. `service_ended` returns the fault of a service that ended by itself.

    `waits_for` returns the present trial's last progress. `keep` stores the evidence of every fault, before the next
    trial changes the service.
    """

    clock: Clock
    watcher: Watcher
    stop: asyncio.Event
    service_ended: Callable[[], Coroutine[Any, Any, Fault]]
    waits_for: Callable[[], str]
    keep: Callable[[str, Fault], Awaitable[None]]

    async def run(self, trials: Sequence[Trial], cleaning: Trial) -> tuple[TrialResult, ...]:
        """All results, that of `cleaning` last. A cancellation is raised after `cleaning`."""
        results: dict[str, TrialResult] = {}
        try:
            for trial in trials:
                results[trial.name] = await self._one(trial, results)
        finally:
            results[cleaning.name] = await self._clean(cleaning)
        return tuple(results.values())

    async def _one(self, trial: Trial, before: Mapping[str, TrialResult]) -> TrialResult:
        unmet = next((need for need in trial.needs if before[need].verdict != "ok"), None)
        if self.stop.is_set() or unmet is not None:
            reason = INTERRUPTED.message if self.stop.is_set() else f"it needs `{unmet}`, which is not ok"
            result = TrialResult(trial.name, "not run", 0.0, reason, NOT_RUN)
        else:
            result = await self._timed(trial, self._guarded)
        self.watcher.ended(result)
        return result

    @uncancellable
    async def _clean(self, cleaning: Trial) -> TrialResult:
        result = await self._timed(cleaning, self._limited)
        self.watcher.ended(result)
        return result

    async def _timed(self, trial: Trial, run: Callable[[Trial], Awaitable[str | Fault]]) -> TrialResult:
        self.watcher.began(trial.name)
        began = self.clock.monotonic()
        outcome = await run(trial)
        seconds = round(self.clock.monotonic() - began, 1)
        if isinstance(outcome, str):
            return TrialResult(trial.name, "ok", seconds, outcome)
        await self.keep(trial.name, outcome)
        return TrialResult(trial.name, "failed", seconds, outcome.message, outcome.code)

    async def _limited(self, trial: Trial) -> str | Fault:
        """The trial's sentence, or its fault."""
        limit = trial.limit()
        try:
            async with asyncio.timeout(limit) as limited:
                return await trial.run()
        except Exception as error:
            if isinstance(error, TimeoutError) and limited.expired():
                progress = self.waits_for() or "-"
                return Fault("trial_timeout", f"not complete after {limit:.0f} s; it waited for: {progress}")
            return fault_of(error)

    async def _guarded(self, trial: Trial) -> str | Fault:
        """As _limited(), but ended early by an interruption, or by the service's end."""
        running = asyncio.ensure_future(self._limited(trial))
        stopping = asyncio.ensure_future(self.stop.wait())
        death = asyncio.ensure_future(self.service_ended())
        try:
            await asyncio.wait({running, stopping, death}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                outcome = running.result()
                if isinstance(outcome, Fault) and outcome.code == "unreachable":
                    await asyncio.wait({death}, timeout=_DEATH_SECONDS)
                    return death.result() if death.done() else outcome
                return outcome
            return death.result() if death.done() else INTERRUPTED
        finally:
            for task in (running, stopping, death):
                task.cancel()
            await asyncio.wait({running, stopping, death})
