"""Bakes over HTTP with a played baker: a builder that dies, a request to cancel, and errors, at any point."""

from __future__ import annotations

import asyncio

import pytest

from dayfly.clock import SystemClock
from dayfly.controllers.bakes.log import MOST_LINES, BakeLog
from dayfly.domain.bake import LINE, BakeOrder
from dayfly.errors import (
    BakeFailed,
    Conflict,
    DatabaseUnavailable,
    DiskFull,
    EngineRefused,
    EngineUnavailable,
    NotRemoved,
)
from dayfly.images.progress import Progress, Reporter
from dayfly.store import Store
from dayfly.vocabulary import BakePhase
from tests.support.bakery import IMAGE, STEPS, Bakery

POINTS = range(1, 31)
"""The instructions of a whole bake; some more, while the builder waits for another one."""


@pytest.fixture
def bakery(store: Store) -> Bakery:
    return Bakery(store)


async def test_a_bake_succeeds_and_has_a_log(bakery: Bakery) -> None:
    bake = await bakery.order()
    builder = bakery.builder()
    async with builder.working():
        ended = await bakery.until_ended(bake, BakePhase.SUCCEEDED)
    assert (ended.image, ended.attempts, ended.fault) == (IMAGE, 1, None)
    assert bakery.named == ["bare"]
    steps = ["step.running", "line", "step.done"]
    expected = ["queued", "started", *steps * 3, "step.running", "step.done", "succeeded"]
    assert await bakery.types(bake) == expected
    assert builder.points < POINTS.stop, "the points of the tests below cover the whole bake"
    assert bakery.cleaned == []


@pytest.mark.parametrize("point", POINTS)
async def test_a_builder_dies_at_any_point(bakery: Bakery, point: int) -> None:
    bake = await bakery.order()
    first = bakery.builder("first")
    first.at = point
    async with first.working(), asyncio.timeout(20):
        await first.died.wait()
        await bakery.expire_leases()
        async with bakery.builder("second").working():
            ended = await bakery.until_ended(bake, BakePhase.SUCCEEDED)
    assert ended.image == IMAGE
    assert ended.attempts in {1, 2}
    assert set(bakery.named) == {"bare"}
    assert (await bakery.types(bake))[-1] == "succeeded"


@pytest.mark.parametrize("point", POINTS)
async def test_a_bake_is_cancelled_at_any_point(bakery: Bakery, point: int) -> None:
    bake = await bakery.order()
    builder = bakery.builder()

    async def cancel() -> None:
        await bakery.store.bakes.cancel(bake.id)

    builder.at, builder.act = point, cancel
    async with builder.working():
        ended = await bakery.until(bake)
    assert bakery.left == set()
    assert bakery.running == 0
    # It succeeded where the image had its name before the builder heard of the request.
    assert ended.phase is (BakePhase.SUCCEEDED if bakery.named else BakePhase.CANCELLED)
    assert (await bakery.types(bake)).count("cancelled") == (ended.phase is BakePhase.CANCELLED)


@pytest.mark.parametrize("step", [*STEPS, "verify"])
async def test_a_hanging_step_is_ended_by_a_cancellation(bakery: Bakery, step: str) -> None:
    bake = await bakery.order()
    bakery.hang = step
    async with bakery.builder().working():
        await bakery.hanging.wait()
        await bakery.store.bakes.cancel(bake.id)
        await bakery.until_ended(bake, BakePhase.CANCELLED)
        assert (bakery.running, bakery.named, bakery.cleaned) == (0, [], ["bare"])
        bakery.hang = None
        again = await bakery.order()
        await bakery.until_ended(again, BakePhase.SUCCEEDED)
    assert (await bakery.types(again)).count("step.cached") == [*STEPS, "verify"].index(step)


async def test_a_bake_to_be_cancelled_is_cleaned_up_after_where_its_builder_died(bakery: Bakery) -> None:
    bake = await bakery.order()
    bakery.hang = "verify"
    first = bakery.builder("first")
    async with first.working():
        await bakery.hanging.wait()
        await first.die()
        await bakery.store.bakes.cancel(bake.id)
        assert bakery.left == {"image", "cluster"}
        await bakery.expire_leases()
        async with bakery.builder("second").working():
            await bakery.until_ended(bake, BakePhase.CANCELLED)
    assert bakery.named == []


async def test_a_bake_whose_builders_always_die_fails(bakery: Bakery) -> None:
    bake = await bakery.order()
    bakery.hang = "node"
    for number in range(3):
        builder = bakery.builder(f"{number}")
        async with builder.working():
            await bakery.hanging.wait()
            bakery.hanging.clear()
            await builder.die()
        await bakery.expire_leases()
    assert bakery.left
    async with bakery.builder("last").working():
        ended = await bakery.until_ended(bake, BakePhase.FAILED)
    assert ended.fault is not None
    assert (ended.fault.code, ended.attempts) == ("bake_interrupted", 4)


async def test_a_builder_that_is_stopped_queues_its_bake_again(bakery: Bakery) -> None:
    bake = await bakery.order()
    bakery.hang = "node"
    async with bakery.builder("first").working():
        await bakery.hanging.wait()
    waiting = await bakery.store.bakes.get(bake.id)
    assert (waiting.phase, waiting.attempts, bakery.left, bakery.running) == (BakePhase.QUEUED, 0, set(), 0)
    bakery.hang = None
    async with bakery.builder("second").working():
        await bakery.until_ended(bake, BakePhase.SUCCEEDED)


async def test_a_builder_that_is_stopped_and_cannot_clean_up_keeps_its_claim(bakery: Bakery) -> None:
    bake = await bakery.order()
    bakery.hang = "verify"
    bakery.faults["clean-up"] = [NotRemoved("still there")]
    async with bakery.builder("first").working():
        await bakery.hanging.wait()
    assert (await bakery.store.bakes.get(bake.id)).phase is BakePhase.RUNNING
    await bakery.store.bakes.cancel(bake.id)
    await bakery.expire_leases()
    async with bakery.builder("second").working():
        await bakery.until_ended(bake, BakePhase.CANCELLED)


async def test_a_builder_that_lost_its_lease_ends_its_bake_and_writes_nothing(bakery: Bakery) -> None:
    bake = await bakery.order()
    bakery.hang = "base"
    async with bakery.builder("first", lease_seconds=0.3).working():
        await bakery.hanging.wait()
        # Another builder takes the bake up: the first one could not renew its lease in time.
        await bakery.expire_leases()
        taken = await bakery.store.bake_leases.claim("second", "second", lease_seconds=60, per_host=1)
        assert taken is not None
        await bakery.until_running(0)
        assert (await bakery.types(bake))[-1] == "started", "of the second builder"
        assert (await bakery.store.bakes.get(bake.id)).phase is BakePhase.RUNNING


@pytest.mark.parametrize("step", [*STEPS, "verify"])
async def test_an_error_of_a_step_fails_the_bake_and_the_next_one_takes_the_cache(bakery: Bakery, step: str) -> None:
    full = DiskFull(f"phase {step}: no space left", evidence={"output": "dpkg: error"}, operator_detail="a path")
    bakery.faults[step] = [full]
    bake = await bakery.order()
    async with bakery.builder().working():
        failed = await bakery.until_ended(bake, BakePhase.FAILED)
        again = await bakery.order()
        await bakery.until_ended(again, BakePhase.SUCCEEDED)
    assert failed.fault is not None
    assert (failed.fault.code, failed.fault.message) == ("disk_full", f"phase {step}: no space left")
    assert failed.fault.evidence == {"output": "dpkg: error"}
    assert (await bakery.types(again)).count("step.cached") == [*STEPS, "verify"].index(step)


async def test_a_defect_is_internal_and_tells_nothing(bakery: Bakery) -> None:
    bakery.faults["base"] = [RuntimeError("secret")]
    bake = await bakery.order()
    async with bakery.builder().working():
        failed = await bakery.until_ended(bake, BakePhase.FAILED)
    assert failed.fault is not None
    assert failed.fault.code == "internal"
    assert "secret" not in f"{failed}{await bakery.store.bakes.events(bake.id)}"


async def test_an_outage_of_the_engine_begins_the_bake_again_so_often(bakery: Bakery) -> None:
    bakery.faults["verify"] = [EngineUnavailable("away")] * 2
    bake = await bakery.order()
    async with bakery.builder().working():
        ended = await bakery.until_ended(bake, BakePhase.SUCCEEDED)
        assert ended.attempts == 3
        bakery.faults["verify"] = [EngineUnavailable("away")] * 3
        failed = await bakery.until_ended(await bakery.order(), BakePhase.FAILED)
    assert failed.fault is not None
    assert failed.fault.code == "engine_unavailable"


async def test_a_clean_up_that_fails_is_repeated_before_the_bake_ends(bakery: Bakery) -> None:
    bakery.faults = {"verify": [BakeFailed("it broke")], "clean-up": [NotRemoved("still there")] * 3}
    bake = await bakery.order()
    async with bakery.builder().working():
        failed = await bakery.until_ended(bake, BakePhase.FAILED)
    assert failed.fault is not None
    assert (failed.fault.code, failed.fault.evidence) == ("bake_failed", {})
    assert (await bakery.types(bake)).count("clean_up_failed") == 3


async def test_a_clean_up_that_always_fails_is_told(bakery: Bakery) -> None:
    bakery.faults = {"verify": [BakeFailed("it broke")], "clean-up": [NotRemoved("still there")] * 9}
    bake = await bakery.order()
    async with bakery.builder().working():
        failed = await bakery.until(bake)
    assert failed.fault is not None
    assert (failed.fault.code, failed.fault.evidence) == ("bake_failed", {"clean-up": "not_removed: still there"})


async def test_a_bake_goes_on_through_an_outage_of_the_database(
    bakery: Bakery, monkeypatch: pytest.MonkeyPatch
) -> None:
    bake = await bakery.order()
    leases = bakery.store.bake_leases
    record, renew, away = leases.record, leases.renew, list[str]()

    def failing(name: str) -> object:
        async def call(*arguments: object, **options: object) -> object:
            if len(away) < 4:
                away.append(name)
                raise DatabaseUnavailable("away")
            return await (record if name == "record" else renew)(*arguments, **options)  # type: ignore[arg-type]

        return call

    monkeypatch.setattr(leases, "record", failing("record"))
    monkeypatch.setattr(leases, "renew", failing("renew"))
    bakery.hang = "verify"
    async with bakery.builder().working():
        await bakery.until(bake, lambda seen: len(away) == 4 or seen.phase is BakePhase.FAILED)
        await bakery.store.bakes.cancel(bake.id)
        await bakery.until_ended(bake, BakePhase.CANCELLED)
    assert (await bakery.types(bake)).count("step.done") == 3, "no event is lost"


async def test_as_many_bakes_run_at_once_as_the_setting_says(bakery: Bakery) -> None:
    bakery.hang = "base"
    for _ in range(3):
        await bakery.order()
    async with bakery.builder(concurrency=2).working():
        await bakery.until_running(2)
        await asyncio.sleep(0.2)
    assert bakery.most_running == 2


async def test_only_an_order_that_asks_for_it_promotes_its_image(bakery: Bakery) -> None:
    bakery.faults["promote"] = [Conflict("it is being removed")]
    for expected in ("promote_failed", "promoted"):
        made = await bakery.store.bakes.create(BakeOrder("bare", state="a", promote=True), "me")
        async with bakery.builder().working():
            await bakery.until_ended(made, BakePhase.SUCCEEDED)
        assert (await bakery.types(made))[-2:] == [expected, "succeeded"]
    assert bakery.promoted == [("bare", IMAGE.id)]
    async with bakery.builder().working():
        ordinary = await bakery.until_ended(await bakery.order(), BakePhase.SUCCEEDED)
    assert len(bakery.promoted) == 1
    assert "promoted" not in await bakery.types(ordinary)


def test_the_log_keeps_the_newest_lines_and_the_order() -> None:
    log = BakeLog()
    log.report(Progress("base", "running"))
    for number in range(MOST_LINES + 5):
        log.report(Progress("base", "running", 0.0, f"{number}"))
    log.report(Progress("base", "done", 2.0))
    events = log.take()
    assert [event.type for event in (events[0], events[-1])] == ["step.running", "step.done"]
    lines = [event.message for event in events if event.type == LINE]
    assert (lines[0], lines[1], len(lines)) == ("(5 lines are left out here)", "5", MOST_LINES + 1)
    log.report(Progress("node", "waiting", 0.0, "another bake is making it"))
    log.put_back(events)
    again = log.take()
    assert (again[0].type, again[-1].type) == ("step.running", "step.waiting")
    assert len([event for event in again if event.type == LINE]) == MOST_LINES
    assert log.take() == []


def test_the_log_has_no_login_of_a_mirror() -> None:
    log = BakeLog()
    log.report(Progress("base", "running", 0.0, "Get:1 https://user:secret@mirror.example/debian bookworm"))
    assert [event.message for event in log.take()] == ["", "Get:1 https://…@mirror.example/debian bookworm"]


async def test_the_log_has_no_detail_of_the_operator() -> None:
    log, shown = BakeLog(), list[Progress]()
    error = EngineRefused("the engine refused", operator_detail="a path of the server")

    def report(progress: Progress) -> None:
        shown.append(progress)
        log.report(progress)

    with pytest.raises(EngineRefused):
        async with Reporter(report, SystemClock()).phase("image"):
            raise error
    assert [event.message for event in log.take()] == ["", "the engine refused"]
    assert shown[-1].detail == "a path of the server"


async def test_a_failure_has_no_login_of_a_mirror(bakery: Bakery) -> None:
    bake = await bakery.order()
    address = "http://user:p@ss@mirror.example/debian"
    bakery.faults["base"] = [BakeFailed(f"{address} ended", evidence={"output": f"E: {address} bookworm"})]
    async with bakery.builder().working():
        ended = await bakery.until_ended(bake, BakePhase.FAILED)
    assert ended.fault is not None
    assert ended.fault.message == "http://…@mirror.example/debian ended"
    assert ended.fault.evidence == {"output": "E: http://…@mirror.example/debian bookworm"}
    events = await bakery.store.bakes.events(bake.id)
    assert events[-1].message == ended.fault.message


async def test_an_event_of_another_attempt_has_no_login(bakery: Bakery) -> None:
    bake = await bakery.order()
    bakery.faults["base"] = [EngineUnavailable("tcp://user:secret@engine.example does not answer")]
    async with bakery.builder().working():
        await bakery.until_ended(bake, BakePhase.SUCCEEDED)
    said = [event.message for event in await bakery.store.bakes.events(bake.id) if event.type == "queued"]
    assert said == ["", "tcp://…@engine.example does not answer"]
