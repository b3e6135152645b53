"""Processes that can be killed as by SIGKILL, stopped, or disconnected at any call.

A process reaches the store and the outside world only through proxies. After a kill none of its code has an effect: no
`finally`, no answer. Not here: what the calls do (dayfly.testing.fakes, dayfly.store).
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from dayfly.domain.cluster.topology import ContainerSpec
from dayfly.store.db.database import StorePart
from dayfly.testing.fakes import FakeEngine

_REMEMBERED_CALLS: Final = 80


class Moment(StrEnum):
    """When something befalls a call: before it has an effect, with half of it, or before its answer is heard."""

    BEFORE = "before"
    HALFWAY = "halfway"
    AFTER = "after"


@dataclass
class Fault:
    """The `countdown`-th call from now on of `method` (None: any) of `part` raises `error`, at `moment`."""

    part: str
    method: str | None
    countdown: int
    error: Exception
    moment: Moment

    def befalls(self, part: str, method: str) -> bool:
        """Counts down."""
        if part != self.part or self.method not in {None, method}:
            return False
        self.countdown -= 1
        return self.countdown == 0


@dataclass
class Traffic:
    """The calls of all processes of a world, and their faults."""

    faults: list[Fault] = field(default_factory=list)
    fired: list[Fault] = field(default_factory=list)
    calls: int = 0
    late_removals: int = 0
    """How many removals were on their way while their process was stopped: they come when another has the cluster."""
    trace: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_CALLS))
    _awaited: tuple[int, asyncio.Event] | None = None

    def count(self, line: str) -> None:
        self.calls += 1
        self.trace.append(line)
        if self._awaited is not None and self.calls >= self._awaited[0]:
            self._awaited[1].set()

    def fault(self, part: str, method: str) -> Fault | None:
        """The fault that befalls this call."""
        for fault in self.faults:
            if fault.befalls(part, method):
                self.faults.remove(fault)
                self.fired.append(fault)
                return fault
        return None

    async def pass_by(self, calls: int, *, timeout: float) -> None:
        """Until so many more calls were made, or `timeout` seconds have passed."""
        if not calls:
            return
        event = asyncio.Event()
        self._awaited = (self.calls + calls, event)
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            return
        finally:
            self._awaited = None


class Process:
    """One mortal process: what it runs, and its lines to the outside."""

    def __init__(self, name: str, traffic: Traffic) -> None:
        self.name = name
        self.dead = False
        self._traffic = traffic
        self._died = asyncio.Event()
        self._running = asyncio.Event()
        self._running.set()
        self._doom: tuple[int, Moment] | None = None

    def doom(self, calls: int, moment: Moment) -> None:
        """It will die at its `calls`-th call from now on."""
        self._doom = (calls, moment)

    def die(self) -> None:
        """It is dead now."""
        self.dead = True
        self._died.set()

    def suspend(self) -> None:
        """Its calls stop where they are, on the way there or back."""
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    @property
    def suspended(self) -> bool:
        return not self._running.is_set()

    async def run(self, *jobs: Coroutine[Any, Any, None]) -> BaseException | None:
        """Until it dies; what ended it instead, if a job ended by itself."""
        tasks = [asyncio.create_task(job) for job in jobs]
        death = asyncio.create_task(self._died.wait())
        try:
            done, _ = await asyncio.wait({*tasks, death}, return_when=asyncio.FIRST_COMPLETED)
            if death in done:
                return None
            return next(iter(done)).exception() or RuntimeError(f"a job of {self.name} ended")
        finally:
            self.die()
            for task in (*tasks, death):
                task.cancel()
            await asyncio.gather(*tasks, death, return_exceptions=True)

    def line(self, part: str, real: Any) -> Any:
        """A proxy for `real`."""
        return _Line(self, part, real)

    def engine(self, real: FakeEngine) -> Any:
        """The same for an engine, whose calls can be cut in the middle."""
        return _EngineLine(self, "engine", real)

    async def call(
        self, part: str, method: str, real: Callable[[], Awaitable[Any]], half: Callable[[], None] | None = None
    ) -> Any:
        """One call through the line. `half` does half of it."""
        self._traffic.count(f"{self.name} {part}.{method}")
        if self.suspended and method == "remove":
            self._traffic.late_removals += 1
        await self._still_alive()
        fault = self._traffic.fault(part, method)
        self._meet_doom(Moment.BEFORE, half)
        if fault is not None and fault.moment is not Moment.AFTER:
            self._halve(fault.moment, half)
            raise fault.error
        result = await real()
        self._meet_doom(Moment.AFTER, half)
        await self._still_alive()
        if fault is not None:
            raise fault.error
        return result

    async def _still_alive(self) -> None:
        if not self.dead:
            await self._running.wait()
        if self.dead:
            raise asyncio.CancelledError

    def _meet_doom(self, moment: Moment, half: Callable[[], None] | None) -> None:
        if self._doom is None:
            return
        calls, last = self._doom
        if moment is Moment.BEFORE:
            calls -= 1
            self._doom = (calls, last)
        if calls > 0 or (moment is Moment.BEFORE and last is Moment.AFTER):
            return
        self._traffic.trace.append(f"{self.name} dies {last} that")
        self._halve(last, half)
        self.die()
        raise asyncio.CancelledError

    @staticmethod
    def _halve(moment: Moment, half: Callable[[], None] | None) -> None:
        if moment is Moment.HALFWAY and half is not None:
            half()


class _Line:
    """Awaited calls go through the process; all others go to the real object."""

    def __init__(self, process: Process, part: str, real: Any) -> None:
        self._process, self._part, self._real = process, part, real

    def __getattr__(self, method: str) -> Any:
        real = getattr(self._real, method)
        if isinstance(real, StorePart):
            return _Line(self._process, self._part, real)
        if not inspect.iscoroutinefunction(real):
            return real

        async def call(*args: Any, **kwargs: Any) -> Any:
            half = self._half(method, args, kwargs)
            return await self._process.call(self._part, method, lambda: real(*args, **kwargs), half)

        setattr(self, method, call)
        return call

    def _half(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], None] | None:
        """Performs half of a call, if a call can be half done."""
        return None


class _EngineLine(_Line):
    _real: FakeEngine

    def events(self, cluster_id: str | None = None) -> AsyncIterator[Any]:
        return self._follow(self._real.events(cluster_id))

    async def _follow(self, events: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for event in events:
            # One that is stopped hears of it late.
            await self._process._still_alive()
            yield event

    def _half(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], None] | None:
        if method == "ensure":
            return lambda: self._make_but_not_start(args[0], **kwargs)
        if method == "remove" and kwargs.get("only") is None:
            return lambda: self._remove_one(args[0])
        return None

    def _make_but_not_start(self, container: ContainerSpec, *, again: bool) -> None:
        if not again and not self._real._down and container.name not in self._real.containers:
            self._real._create(container)

    def _remove_one(self, cluster_id: str) -> None:
        found = self._real._of(cluster_id)
        if found and not self._real._down:
            self._real._delete(found[-1])
