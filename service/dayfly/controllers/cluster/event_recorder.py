"""Records the events and step reports of a pass, in order, guarded by the claim's token.

Steps report from callbacks that cannot await: reports go to a queue, and one task writes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, Self

from dayfly import metrics
from dayfly.clock import Clock
from dayfly.concurrency import unwrap_exception_group
from dayfly.domain.cluster.model import NewEvent, StepReport, StepState
from dayfly.domain.cluster.naming import node_name
from dayfly.domain.cluster.provisioning_plan import PlannedStep
from dayfly.errors import DayflyError
from dayfly.store import Claim, Store

_PROGRESS_EVENTS: Final = 200
"""Of one attempt at a step: a guest decides how often a program in it reports."""
_MESSAGE_CHARACTERS: Final = 1000


class EventRecorder:
    """Records the steps of one claimed cluster. Use as `async with EventRecorder.open(…)`."""

    def __init__(self, store: Store, claim: Claim, clock: Clock) -> None:
        self._store, self._claim, self.clock = store, claim, clock
        self._queue: asyncio.Queue[StepReport | NewEvent | None] = asyncio.Queue()

    @classmethod
    @asynccontextmanager
    async def open(cls, store: Store, claim: Claim, clock: Clock) -> AsyncIterator[Self]:
        """A recorder whose writer runs within the block; leaving the block writes the rest of the queue."""
        recorder = cls(store, claim, clock)
        async with unwrap_exception_group(), asyncio.TaskGroup() as group:
            writer = group.create_task(recorder._write())
            try:
                yield recorder
            finally:
                recorder._queue.put_nowait(None)
                await writer

    def step(self, planned: PlannedStep, attempt: int) -> StepRecorder:
        """The recorder of one attempt at one step, which begins now."""
        return StepRecorder(self, planned, attempt)

    def add(self, item: StepReport | NewEvent) -> None:
        self._queue.put_nowait(item)

    async def written(self) -> None:
        """Wait until all queued reports are stored. Cancelled, with the whole block, where the lease is lost."""
        await self._queue.join()

    async def _write(self) -> None:
        """Store in batches: a step reports several things at once."""
        ended = False
        while not ended:
            items = [await self._queue.get()]
            while not self._queue.empty():
                items.append(self._queue.get_nowait())
            ended = items[-1] is None
            if entries := [item for item in items if item is not None]:
                await self._store.status.record(self._claim, entries)
            for _ in items:
                self._queue.task_done()


class StepRecorder:
    """Records one attempt at one step; it begins with the constructor."""

    def __init__(self, recorder: EventRecorder, planned: PlannedStep, attempt: int) -> None:
        self._recorder, self._clock, self._began = recorder, recorder.clock, recorder.clock.monotonic()
        self._progress_left = _PROGRESS_EVENTS
        self._node = None if planned.node is None else node_name(planned.node)
        self._report = StepReport(planned.name, self._node, StepState.RUNNING, attempt, self._clock.now())
        recorder.add(self._report)
        self._event("step.started", f"{self._label} began" + (f", attempt {attempt}" if attempt > 1 else ""))

    @property
    def progress(self) -> Callable[[str], None]:
        """Takes one sentence for a person. What exceeds the limits is not recorded."""
        return self._on_progress

    def waiting(self, reason: str, code: str | None = None) -> None:
        self._record(StepState.WAITING, "step.waiting", reason, code)

    def done(self, *, already: bool) -> None:
        if not already:
            self._measure("done")
        words = f"{self._label} was done already" if already else f"{self._label} is done"
        self._record(StepState.DONE, "step.done", words)

    def failed(self, error: DayflyError, *, again_in_seconds: float | None) -> None:
        """`again_in_seconds` is None when this was the last attempt."""
        self._measure("failed")
        metrics.step_failures.labels(error.code).inc()
        if again_in_seconds is None:
            self._record(StepState.FAILED, "step.failed", error.message, error.code)
        else:
            self._record(
                StepState.WAITING,
                "step.retry",
                f"{error.message}; again in {again_in_seconds:.0f} s",
                error.code,
            )

    @property
    def _label(self) -> str:
        return self._report.name + (f" of {self._node}" if self._node else "")

    def _measure(self, result: str) -> None:
        metrics.step_seconds.labels(self._report.name, result).observe(self._clock.monotonic() - self._began)

    def _on_progress(self, sentence: str) -> None:
        if self._progress_left <= 0:
            return
        self._progress_left -= 1
        if not self._progress_left:
            sentence = f"{_PROGRESS_EVENTS} reports of progress: no more are recorded"
        self._record(StepState.RUNNING, "step.progress", sentence[:_MESSAGE_CHARACTERS])

    def _record(self, state: StepState, type_: str, message: str, code: str | None = None) -> None:
        finished_at = self._clock.now() if state in {StepState.DONE, StepState.FAILED} else None
        report = replace(self._report, state=state, detail=message, error_code=code, finished_at=finished_at)
        self._recorder.add(report)
        self._event(type_, message, code)

    def _event(self, type_: str, message: str, code: str | None = None) -> None:
        seconds = None if type_ == "step.started" else round(self._clock.monotonic() - self._began, 3)
        self._recorder.add(NewEvent(type_, message, self._report.name, self._node, seconds, code))
