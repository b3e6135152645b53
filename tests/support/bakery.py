"""A builder on a real store with a played bake, and faults at any of its instructions.

The played bake makes three steps, which a cache keeps, and then an image that is verified and named. `left` is what it
has not finished yet: a process, a folder, an image or a cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import update

from dayfly.clock import SystemClock
from dayfly.controllers.bakes.builder import Builder, BuilderOptions
from dayfly.domain.bake import ENDED, Bake, BakedImage, BakeOrder
from dayfly.domain.scheduling.resources import Resources
from dayfly.errors import DatabaseUnavailable
from dayfly.images.bake import AskForRoom
from dayfly.images.progress import Progress, Report
from dayfly.store import Store
from dayfly.store.db.tables import bakes
from dayfly.vocabulary import BakePhase

IMAGE: Final = BakedImage("dayfly/bare:0123456789ab", "sha256:1")
HOST: Final = Resources(4, 8192, 100)
"""What the host of builders offers clusters."""
STEPS: Final = ("base", "node", "disk")
_LIMIT_SECONDS: Final = 20.0


class Bakery:
    """What builders share: the store, the cache, and what bakes left."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.cache: set[str] = set()
        self.left: set[str] = set()
        self.named: list[str] = []
        self.running = 0
        self.most_running = 0
        self.faults: dict[str, list[Exception]] = {}
        """A step, or `clean-up` → the errors of its next calls."""
        self.hang: str | None = None
        """The step that does not end by itself."""
        self.hanging = asyncio.Event()
        self.cleaned: list[str] = []
        self.promoted: list[tuple[str, str]] = []
        self.needs: Resources | None = None
        """Of a verification, which asks for them."""
        self.changed = asyncio.Event()

    def builder(self, name: str = "one", **options: Any) -> MortalBuilder:
        return MortalBuilder(self, name, options)

    async def order(self, recipe: str = "bare") -> Bake:
        return await self.store.bakes.create(BakeOrder(recipe), "me")

    async def expire_leases(self) -> None:
        """As time does for a builder that died."""
        async with self.store._database.write() as transaction:
            held = bakes.c.lease_expires_at.is_not(None)
            past = transaction.now - timedelta(seconds=1)
            await transaction.execute(update(bakes).where(held).values(lease_expires_at=past))

    async def until(self, bake: Bake, enough: Callable[[Bake], bool] = lambda bake: bake.phase in ENDED) -> Bake:
        async with asyncio.timeout(_LIMIT_SECONDS):
            with self.store.watch(bake.id) as watch:
                while not enough(seen := await self.store.bakes.get(bake.id)):
                    await watch.wait(1)
        return seen

    async def until_running(self, number: int) -> None:
        """Until so many bakes run."""
        async with asyncio.timeout(_LIMIT_SECONDS):
            while self.running != number:
                self.changed.clear()
                await self.changed.wait()

    async def until_waiting(self, bake: Bake) -> None:
        """Until its verification waits for admission."""
        async with asyncio.timeout(_LIMIT_SECONDS):
            with self.store.watch_queue() as watch:
                while bake.id not in {one.id for one in (await self.store.admission.queue()).waiting}:
                    await watch.wait(1)

    async def until_ended(self, bake: Bake, phase: BakePhase) -> Bake:
        ended = await self.until(bake)
        assert ended.phase is phase, ended
        assert self.left == set(), "nothing may be left of a bake that has ended"
        return ended

    async def types(self, bake: Bake) -> list[str]:
        return [event.type for event in await self.store.bakes.events(bake.id)]

    def fault(self, where: str) -> None:
        if errors := self.faults.get(where):
            raise errors.pop(0)


class MortalBuilder:
    """A builder that can be killed: from then on, nothing of it has an effect."""

    def __init__(self, bakery: Bakery, name: str, options: dict[str, Any]) -> None:
        fields: dict[str, Any] = {
            "host": name,
            "concurrency": 1,
            "lease_seconds": 60.0,
            "poll_seconds": 0.02,
            "attempts": 3,
            "write_seconds": 0.01,
            "retry_seconds": 0.01,
        }
        self.bakery = bakery
        self.points = 0
        self.at: int | None = None
        """The instruction before which `act` is awaited."""
        self.act: Callable[[], Awaitable[None]] = self.die
        self.died, self._over = asyncio.Event(), asyncio.Event()
        self.bake_leases = _Instructions(self, bakery.store.bake_leases)
        self.bakes = bakery.store.bakes
        self.watch = bakery.store.watch
        self.watch_bakes = bakery.store.watch_bakes
        self.watch_requests = bakery.store.watch_requests
        store: Any = self
        found = BuilderOptions(**{"name": name, **fields, **options})
        self._builder = Builder(store, self.bake, self.clean_up, _offered, self.promote, found, SystemClock())

    @asynccontextmanager
    async def working(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self._builder.run())
        try:
            yield task
        finally:
            self._over.set()
            task.cancel()
            await asyncio.wait({task}, timeout=_LIMIT_SECONDS)
            assert task.done()

    async def die(self) -> None:
        self.died.set()

    async def point(self) -> None:
        """One instruction of the builder."""
        if not self.died.is_set():
            self.points += 1
            if self.points == self.at:
                await self.act()
        if self.died.is_set():
            await self._over.wait()
            raise DatabaseUnavailable("a dead builder reaches nothing")

    async def bake(self, order: BakeOrder, report: Report, room: AskForRoom) -> BakedImage:
        bakery = self.bakery
        bakery.running += 1
        bakery.most_running = max(bakery.most_running, bakery.running)
        bakery.changed.set()
        try:
            bakery.left.clear()  # as a bake does of an earlier one of the recipe
            for step in STEPS:
                await self._step(step, report)
            bakery.left |= {"image"}
            if bakery.needs is not None:
                await room(bakery.needs)
            bakery.left |= {"cluster"}
            await self._verified(report)
            bakery.left.clear()
            bakery.named.append(order.recipe)
        except BaseException:
            if not self.died.is_set() and "clean-up" not in bakery.faults:
                bakery.left.clear()
            raise
        else:
            return IMAGE
        finally:
            bakery.running -= 1
            bakery.changed.set()

    async def promote(self, name: str, image: BakedImage) -> None:
        await self.point()
        self.bakery.fault("promote")
        self.bakery.promoted.append((name, image.id))

    async def clean_up(self, recipe: str) -> None:
        await self.point()
        self.bakery.fault("clean-up")
        self.bakery.left.clear()
        self.bakery.cleaned.append(recipe)

    async def _step(self, step: str, report: Report) -> None:
        bakery = self.bakery
        if step in bakery.cache:
            report(Progress(step, "cached"))
            return
        report(Progress(step, "running"))
        bakery.left |= {f"process of {step}", f"folder of {step}"}
        await self.point()
        await self._hang(step)
        bakery.fault(step)
        report(Progress(step, "running", 0.0, f"a line of {step}"))
        bakery.left.clear()
        bakery.cache.add(step)
        report(Progress(step, "done", 1.0))

    async def _verified(self, report: Report) -> None:
        report(Progress("verify", "running"))
        await self.point()
        await self._hang("verify")
        self.bakery.fault("verify")
        report(Progress("verify", "done", 1.0))

    async def _hang(self, step: str) -> None:
        if self.bakery.hang == step:
            self.bakery.hanging.set()
            await asyncio.Event().wait()


async def _offered() -> Resources:
    return HOST


class _Instructions:
    """Calls of the store, with an instruction of the builder before and after each."""

    def __init__(self, builder: MortalBuilder, part: Any) -> None:
        self._builder, self._part = builder, part

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **options: Any) -> Any:
            await self._builder.point()
            result = await getattr(self._part, name)(*arguments, **options)
            await self._builder.point()
            return result

        return call
