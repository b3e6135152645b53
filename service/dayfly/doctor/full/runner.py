"""Runs trials in their order: each timed, limited, and ended early when the service dies or somebody interrupts.

Cleaning up is the last trial. It runs in every case, to its end. Not here: any trial.
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
"""A service that has just died closes its socket before its process has ended."""


@dataclass(frozen=True)
class Trial:
    """`run` returns a sentence about what held, and raises where it did not. `needs`: trials that must be ok before.

    `limit` gives the longest that it may take, in seconds, when it begins.
    """

    name: str
    run: Callable[[], Coroutine[Any, Any, str]]
    limit: Callable[[], float]
    needs: tuple[str, ...] = ()


class Watcher(Protocol):
    """Who is shown how the examination goes on."""

    def began(self, trial: str) -> None: ...

    def ended(self, result: TrialResult) -> None: ...


@dataclass(frozen=True)
class Runner:
    """`stop` interrupts. `service_ended` returns why the service ended, once it has ended unasked.

    `waits_for` says what the present trial waits for. `keep` is given every fault, while all is as the trial left it.
    """

    clock: Clock
    watcher: Watcher
    stop: asyncio.Event
    service_ended: Callable[[], Coroutine[Any, Any, Fault]]
    waits_for: Callable[[], str]
    keep: Callable[[str, Fault], Awaitable[None]]

    async def run(self, trials: Sequence[Trial], cleaning: Trial) -> tuple[TrialResult, ...]:
        """All results, `cleaning`'s last. A cancellation goes on after that has run."""
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
            why = INTERRUPTED.message if self.stop.is_set() else f"it needs `{unmet}`, which is not ok"
            result = TrialResult(trial.name, "not run", 0.0, why, NOT_RUN)
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
        told = await run(trial)
        seconds = round(self.clock.monotonic() - began, 1)
        if isinstance(told, str):
            return TrialResult(trial.name, "ok", seconds, told)
        await self.keep(trial.name, told)
        return TrialResult(trial.name, "failed", seconds, told.message, told.code)

    async def _limited(self, trial: Trial) -> str | Fault:
        """Its sentence, or why it failed."""
        limit = trial.limit()
        try:
            async with asyncio.timeout(limit) as limited:
                return await trial.run()
        except Exception as error:
            if isinstance(error, TimeoutError) and limited.expired():
                return Fault("trial_timeout", f"not over after {limit:.0f} s; it waited for: {self.waits_for() or '-'}")
            return fault_of(error)

    async def _guarded(self, trial: Trial) -> str | Fault:
        """The same, but ended early by an interruption, or by the service's end."""
        running = asyncio.ensure_future(self._limited(trial))
        stopping = asyncio.ensure_future(self.stop.wait())
        death = asyncio.ensure_future(self.service_ended())
        try:
            await asyncio.wait({running, stopping, death}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                told = running.result()
                if isinstance(told, Fault) and told.code == "unreachable":
                    await asyncio.wait({death}, timeout=_DEATH_SECONDS)
                    return death.result() if death.done() else told
                return told
            return death.result() if death.done() else INTERRUPTED
        finally:
            for task in (running, stopping, death):
                task.cancel()
            await asyncio.wait({running, stopping, death})
