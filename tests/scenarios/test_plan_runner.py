"""A run of a plan, with scripted steps: order, attempts, back-off, and records."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from dayfly.controllers.cluster.boot_throttle import BootThrottle
from dayfly.controllers.cluster.event_recorder import EventRecorder
from dayfly.controllers.cluster.plan_runner import PlanRunner, StepFailed
from dayfly.controllers.cluster.retry import RetryPolicy
from dayfly.domain.cluster.provisioning_plan import PlannedStep
from dayfly.domain.cluster.timeouts import TimeLimits, limits_for
from dayfly.errors import CommandFailed, DayflyError, EngineUnavailable, ImageMissing, LeaseLost
from dayfly.steps.step import Step, StepContext
from dayfly.store import Claim, Store
from dayfly.testing.fakes import FakePressure
from tests.support.clock import FakeClock

RETRY_POLICY = RetryPolicy(attempts=3, backoff_seconds=2)


class Scripted:
    """A step that raises what it is given, attempt by attempt, and then succeeds."""

    def __init__(self, *errors: Exception, already: bool = False, limit_seconds: float = 60) -> None:
        self._errors, self._already, self._limit = list(errors), already, limit_seconds
        self.calls: list[str] = []
        self.applying = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    def limit(self, limits: TimeLimits) -> float:
        return self._limit

    async def check(self, context: StepContext) -> bool:
        self.calls.append("check")
        return self._already

    async def apply(self, context: StepContext) -> None:
        self.calls.append("apply")
        self.applying.set()
        context.progress("halfway")
        await self.go_on.wait()
        if self._errors:
            raise self._errors.pop(0)

    async def undo(self, context: StepContext) -> None:
        self.calls.append("undo")


class _Context:
    """As much of a StepContext as a scripted step and the plan runner look at."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self.progress = progress
        self.limits = limits_for("kvm")
        self.cluster = type("Cluster", (), {"id": "0"})()


async def run_plan(
    store: Store, claim: Claim, clock: FakeClock, plan: Sequence[PlannedStep], **steps: Scripted
) -> list[tuple[str, int | None]]:
    """Run `plan`; the keys of its steps in the order they were done."""
    order = []

    async def context(_: PlannedStep, progress: Callable[[str], None]) -> StepContext:
        return cast("StepContext", _Context(progress))

    async def on_done(planned: PlannedStep) -> None:
        order.append(planned.key)

    boot_throttle = BootThrottle(FakePressure(), 60, clock)
    async with EventRecorder.open(store, claim, clock) as recorder:
        await PlanRunner(cast("dict[str, Step]", steps), context, recorder, lambda _: RETRY_POLICY, boot_throttle).run(
            plan, on_done
        )
    return order


ONE = (PlannedStep("one"),)
CHAIN = (PlannedStep("one"), PlannedStep("two", after=frozenset({("one", None)})))


async def test_a_step_begins_when_all_it_waits_for_are_done(store: Store, claim: Claim, clock: FakeClock) -> None:
    assert await run_plan(store, claim, clock, CHAIN, one=Scripted(), two=Scripted()) == [("one", None), ("two", None)]


async def test_independent_steps_go_side_by_side(store: Store, claim: Claim, clock: FakeClock) -> None:
    left, right = Scripted(), Scripted()
    left.go_on.clear()
    plan = (PlannedStep("left"), PlannedStep("right"))
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        running = group.create_task(run_plan(store, claim, clock, plan, left=left, right=right))
        await left.applying.wait()
        await right.applying.wait()
        left.go_on.set()
        await running


async def test_a_step_that_reports_without_end_fills_no_database(store: Store, claim: Claim, clock: FakeClock) -> None:
    async with EventRecorder.open(store, claim, clock) as recorder:
        step = recorder.step(PlannedStep("one"), attempt=1)
        for number in range(30_000):
            step.progress(f"{number} " + "x" * 5000)
        step.done(already=False)
    events = await store.clusters.events(claim.cluster.id)
    progress = [event for event in events if event.type == "step.progress"]
    assert len(progress) == 200
    assert "no more are recorded" in progress[-1].message
    assert max(len(event.message) for event in events) == 1000
    assert events[-1].type == "step.done"


async def test_what_is_so_already_is_not_done_again(store: Store, claim: Claim, clock: FakeClock) -> None:
    step = Scripted(already=True)
    await run_plan(store, claim, clock, ONE, one=step)
    assert step.calls == ["check"]


@pytest.mark.parametrize(("loaded", "calls"), [(False, ["apply"]), (True, ["check"])])
async def test_what_lies_in_a_memory_that_has_just_been_loaded_is_not_looked_for(
    store: Store, claim: Claim, clock: FakeClock, loaded: bool, calls: list[str]
) -> None:
    restore, personalize = Scripted(already=loaded), Scripted(already=True)
    plan = [PlannedStep("restore"), PlannedStep("personalize", 1, frozenset({("restore", None)}))]
    await run_plan(store, claim, clock, plan, restore=restore, personalize=personalize)
    assert personalize.calls == calls


async def test_what_may_help_is_tried_again_after_clearing_away_with_growing_pauses(
    store: Store, claim: Claim, clock: FakeClock
) -> None:
    step = Scripted(CommandFailed("first"), CommandFailed("second"))
    await run_plan(store, claim, clock, ONE, one=step)
    assert step.calls == ["check", "apply", "undo", "check", "apply", "undo", "check", "apply"]
    assert clock.slept == [2, 4]


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([CommandFailed("no")] * 3, "command_failed"),
        ([ImageMissing("gone")], "image_missing"),
        ([KeyError()], "internal"),
    ],
)
async def test_what_cannot_help_or_did_not_is_given_up_by_name(
    store: Store, claim: Claim, clock: FakeClock, errors: list[Exception], code: str
) -> None:
    later = Scripted()
    with pytest.raises(StepFailed) as caught:
        await run_plan(store, claim, clock, CHAIN, one=Scripted(*errors), two=later)
    assert (caught.value.step, caught.value.error.code) == ("one", code)
    assert later.calls == []
    events = await store.clusters.events(claim.cluster.id)
    assert (events[-1].type, events[-1].code) == ("step.failed", code)
    (report,) = await store.clusters.steps(claim.cluster.id)
    assert (report.state, report.error_code, report.attempt) == ("failed", code, len(errors))


async def test_an_engine_that_is_away_ends_the_run_with_the_reason_and_costs_nothing(
    store: Store, claim: Claim, clock: FakeClock
) -> None:
    step = Scripted(EngineUnavailable("nobody there"))
    with pytest.raises(EngineUnavailable):
        await run_plan(store, claim, clock, ONE, one=step)
    assert "undo" not in step.calls
    (waiting,) = [e for e in await store.clusters.events(claim.cluster.id) if e.type == "step.waiting"]
    assert "nobody there" in waiting.message
    (report,) = await store.clusters.steps(claim.cluster.id)
    assert report.state == "waiting"


async def test_a_step_has_a_limit(store: Store, claim: Claim, clock: FakeClock) -> None:
    step = Scripted(limit_seconds=0.01)
    step.go_on.clear()
    with pytest.raises(StepFailed) as caught:
        await run_plan(store, claim, clock, ONE, one=step)
    assert caught.value.error.code == "step_timeout"


async def test_the_first_failure_ends_the_others(store: Store, claim: Claim, clock: FakeClock) -> None:
    stuck = Scripted()
    stuck.go_on.clear()
    plan = (PlannedStep("stuck"), PlannedStep("bad"))
    async with asyncio.timeout(5):
        with pytest.raises(StepFailed) as caught:
            await run_plan(store, claim, clock, plan, stuck=stuck, bad=Scripted(ImageMissing("gone")))
    assert caught.value.step == "bad"


async def test_progress_is_written_down_in_order(store: Store, claim: Claim, clock: FakeClock) -> None:
    await run_plan(store, claim, clock, ONE, one=Scripted())
    told = [e.type for e in await store.clusters.events(claim.cluster.id) if e.step == "one"]
    assert told == ["step.started", "step.progress", "step.done"]


async def test_a_run_whose_lease_is_lost_writes_nothing_more(store: Store, clock: FakeClock, claim: Claim) -> None:
    await store.leases.release(claim, due_in_seconds=0)
    (other,) = await store.leases.claim("another", lease_seconds=60, limit=1)
    before = await store.clusters.events(claim.cluster.id)
    with pytest.raises(LeaseLost):
        await run_plan(store, claim, clock, ONE, one=Scripted())
    assert await store.clusters.events(other.cluster.id) == before


async def test_a_worker_that_slept_through_its_lease_clears_nothing_away(
    store: Store, clock: FakeClock, claim: Claim
) -> None:
    step = Scripted(CommandFailed("after a long sleep"))
    step.go_on.clear()
    running = asyncio.create_task(run_plan(store, claim, clock, ONE, one=step))
    async with asyncio.timeout(5):
        await step.applying.wait()
    await store.leases.release(claim, due_in_seconds=0)
    assert await store.leases.claim("another", lease_seconds=60, limit=1)
    step.go_on.set()
    with pytest.raises(LeaseLost):
        await running
    assert "undo" not in step.calls


def test_errors_that_may_pass_say_so() -> None:
    assert CommandFailed.retryable
    assert not cast("type[DayflyError]", ImageMissing).retryable
