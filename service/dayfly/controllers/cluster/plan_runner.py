"""Runs a plan: each step as soon as those before it are done, in parallel, with attempts and back-off.

Not here: what the steps do (steps/), and what the result means for the cluster (reconciler.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final

import structlog

from dayfly.concurrency import unwrap_exception_group
from dayfly.controllers.cluster.boot_throttle import BootThrottle
from dayfly.controllers.cluster.event_recorder import EventRecorder, StepRecorder
from dayfly.controllers.cluster.retry import RetryPolicy
from dayfly.domain.cluster.naming import node_name
from dayfly.domain.cluster.provisioning_plan import PlannedStep
from dayfly.errors import (
    ContainerExited,
    DayflyError,
    Failure,
    InfrastructureError,
    Internal,
    InvalidRequest,
    StepTimeout,
    VmExited,
)
from dayfly.steps.step import Step, StepContext

_log = structlog.get_logger(__name__)


_STARTERS: Final = frozenset({"sandbox", "registry", "boot", "restore"})
"""The steps that start containers: an exit during one of them is its own failure."""

_INVALIDATED_BY: Final = {"personalize": ("restore", None)}
"""Step → the step that rolls the machines' memory back past it: after that one has run, check() is skipped."""

ContextFactory = Callable[[PlannedStep, Callable[[str], None]], Awaitable[StepContext]]
"""Makes the context of a planned step; the callable it is given takes progress, one sentence at a time."""


class StepFailed(Exception):
    """A step failed for good; the plan cannot be completed."""

    def __init__(self, planned: PlannedStep, error: DayflyError) -> None:
        super().__init__(f"{planned.name}: {error.message}")
        self.step = planned.name
        self.node = None if planned.node is None else node_name(planned.node)
        self.error = error


class DependencyLost(Exception):
    """A step failed because an earlier one does not hold any more: the plan must run again."""

    def __init__(self, failure: StepFailed) -> None:
        super().__init__(str(failure))
        self.failure = failure


@dataclass(frozen=True)
class PlanRunner:
    """Runs one plan once."""

    steps: Mapping[str, Step]
    context: ContextFactory
    recorder: EventRecorder
    retry_policy: Callable[[PlannedStep], RetryPolicy]
    boot_throttle: BootThrottle
    _made: set[tuple[str, int | None]] = field(default_factory=set, init=False)

    async def run(self, plan: Sequence[PlannedStep], on_done: Callable[[PlannedStep], Awaitable[None]]) -> None:
        """Until every step of `plan` holds; `on_done` is awaited before the dependent steps begin.

        Raises StepFailed for the first step that failed for good, DependencyLost, InfrastructureError, LeaseLost.
        """
        finished = {planned.key: asyncio.Event() for planned in plan}

        async def one(planned: PlannedStep) -> None:
            for key in planned.after:
                await finished[key].wait()
            await self._step(planned)
            await on_done(planned)
            finished[planned.key].set()

        async with unwrap_exception_group(), asyncio.TaskGroup() as group:
            for planned in plan:
                group.create_task(one(planned), name=f"{planned.name}:{planned.node}")

    async def _step(self, planned: PlannedStep) -> None:
        """One step, until it holds or has failed for good."""
        attempt, holds = 1, False
        while not holds:
            recorder = self.recorder.step(planned, attempt)
            try:
                holds = await self._try(planned, recorder, attempt)
            except InfrastructureError as error:
                recorder.waiting(error.waiting, error.code)
                raise
            attempt += 1

    async def _try(self, planned: PlannedStep, recorder: StepRecorder, attempt: int) -> bool:
        """Whether the step holds now. Raises StepFailed where no attempt is left."""
        step = self.steps[planned.name]
        context: StepContext | None = None
        try:
            context = await self.context(planned, recorder.progress)
            already = await self._attempt(planned, step, context, recorder)
        except (Failure, InvalidRequest) as error:
            await self._after_failure(planned, step, context, recorder, error, attempt)
            return False
        if not already:
            self._made.add(planned.key)
        recorder.done(already=already)
        return True

    async def _attempt(self, planned: PlannedStep, step: Step, context: StepContext, recorder: StepRecorder) -> bool:
        """Whether the step held already."""
        limit = step.limit(context.limits)
        try:
            async with asyncio.timeout(limit):
                if _INVALIDATED_BY.get(planned.name) not in self._made and await step.check(context):
                    return True
            # Boots load the host most: they wait for a turn, which is not counted.
            turn: AbstractAsyncContextManager[None] = nullcontext()
            if planned.name == "boot":
                turn = self.boot_throttle.turn(context.cluster.id, recorder.waiting)
            async with turn, asyncio.timeout(limit):
                await step.apply(context)
        except TimeoutError as error:
            raise StepTimeout(f"not done after {limit:.0f} s, its limit") from error
        except DayflyError:
            raise
        except Exception as error:
            _log.exception("a step met a defect", cluster=context.cluster.id)
            raise Internal(f"{type(error).__name__} in Dayfly itself; the server's log has the traceback") from error
        return False

    async def _recheck_dependencies(self, planned: PlannedStep, recorder: StepRecorder, error: DayflyError) -> None:
        """Raises DependencyLost where a step that `planned` waited for does not hold any more."""
        if planned.name not in _STARTERS and isinstance(error, ContainerExited | VmExited):
            # Run the plan again from the steps that start containers.
            recorder.waiting(error.message)
            raise DependencyLost(StepFailed(planned, error)) from error
        for name, node in sorted(planned.after, key=str):
            beneath = PlannedStep(name, node)
            try:
                context = await self.context(beneath, recorder.progress)
                async with asyncio.timeout(self.steps[name].limit(context.limits)):
                    holds = await self.steps[name].check(context)
            except (Failure, InvalidRequest, TimeoutError):
                holds = False
            if not holds:
                where = f" of {node_name(node)}" if node else ""
                recorder.waiting(f"{error.message}; {name}{where} no longer holds")
                raise DependencyLost(StepFailed(planned, error)) from error

    async def _after_failure(
        self,
        planned: PlannedStep,
        step: Step,
        context: StepContext | None,
        recorder: StepRecorder,
        error: Failure | InvalidRequest,
        attempt: int,
    ) -> None:
        """Undo and pause before another attempt; raises StepFailed where none is left."""
        await self._recheck_dependencies(planned, recorder, error)
        if not error.retryable or attempt >= self.retry_policy(planned).attempts:
            recorder.failed(error, again_in_seconds=None)
            raise StepFailed(planned, error) from error
        pause = self.retry_policy(planned).backoff(attempt)
        recorder.failed(error, again_in_seconds=pause)
        # Proves the lease before anything is removed: a suspended process may have lost the cluster to another.
        await self.recorder.written()
        try:
            if context is not None:
                await step.undo(context)
        except (Failure, TimeoutError) as trouble:
            recorder.waiting(f"cannot be undone before the next attempt: {trouble}")
        await self.recorder.clock.sleep(pause)
