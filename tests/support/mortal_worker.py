"""A worker that kills itself once, at a point that the test names; otherwise the worker of dayfly/app.py.

    python -m tests.support.mortal_worker --kill POINT:WHEN

prints `waiting` and starts after the first line on standard input. WHEN is `before`, `within` or `after`. POINT is

    claim, phase:<phase>, endpoints, release, begin,       a write to the database
    paused, template_saved, template_verified, checkpoint_made
    sandbox, registry, boot:<node>, restore, personalize:<node>, …   a step, its check included
    pause:<node>, resume:<node>, save:<node>, load:<node>   a command to a machine
    oneshot                                                a probe of the host in its own container
    create:<part>, put:<part>, start:<part>, delete:<part> a request to the engine; the part is net, registry or a node
    remove                                                 the removal of all of a cluster's objects

tests/integration/test_crashes.py starts the next worker after this worker's death.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from aiodocker.containers import DockerContainer, DockerContainers
from aiodocker.types import JSONObject

from dayfly.app import STEPS, Infrastructure, open_infrastructure, worker_jobs
from dayfly.clock import SystemClock
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.domain.cluster.timeouts import TimeLimits
from dayfly.key_sources import key_source
from dayfly.settings import Settings
from dayfly.steps.step import Step, StepContext
from dayfly.store import Claim, Store
from dayfly.telemetry import configure_logging

T = TypeVar("T")

STEP_SECONDS: Final = 0.3
"""How far into a step `within` is."""
REQUEST_SECONDS: Final = 0.02
"""How far into a request: it is on its way, and its answer is not yet back."""

MACHINE_SECONDS: Final = 0.15
"""How far into a command to a machine: QEMU has heard of it."""


@dataclass
class Fuse:
    """Where and when the process ends."""

    point: str
    when: str

    def burn(self, point: str, when: str) -> None:
        if (point, when) == (self.point, self.when):
            self._die()

    async def around(self, point: str, call: Callable[[], Awaitable[T]], within_seconds: float) -> T:
        """The result of `call`, if this is not where the process ends."""
        self.burn(point, "before")
        if (point, "within") == (self.point, self.when):
            begun = asyncio.ensure_future(call())
            await asyncio.sleep(within_seconds)
            self._die(f"{'done' if begun.done() else 'not done'} yet")
        result = await call()
        self.burn(point, "after")
        return result

    def _die(self, more: str = "") -> None:
        print(f"dies {self.when} {self.point} {more}", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class MortalStep(Step):
    """A step, with points around its check and apply together."""

    name: str
    step: Step
    fuse: Fuse

    def limit(self, limits: TimeLimits) -> float:
        return self.step.limit(limits)

    async def check(self, context: StepContext) -> bool:
        self.fuse.burn(self._point(context), "before")
        if (self._point(context), "within") == (self.fuse.point, self.fuse.when):
            await self.fuse.around(self._point(context), lambda: self._whole(context), STEP_SECONDS)
        if await self.step.check(context):
            self.fuse.burn(self._point(context), "after")
            return True
        return False

    async def apply(self, context: StepContext) -> None:
        # All its points once more: a walk does not always look first.
        await self.fuse.around(self._point(context), lambda: self.step.apply(context), STEP_SECONDS)

    async def undo(self, context: StepContext) -> None:
        await self.step.undo(context)

    async def _whole(self, context: StepContext) -> None:
        if not await self.step.check(context):
            await self.step.apply(context)

    def _point(self, context: StepContext) -> str:
        return self.name if context.node is None else f"{self.name}:{context.node.name}"


def tap_store(store: Store, fuse: Fuse) -> None:
    """Points before and after what is written."""
    claim, set_phase = store.leases.claim, store.status.set_phase

    async def mortal_claim(owner: str, *, lease_seconds: float, limit: int) -> tuple[Claim, ...]:
        claims = await claim(owner, lease_seconds=lease_seconds, limit=limit)
        for one in claims:
            print(f"claimed {one.cluster.id}", flush=True)
            fuse.burn("claim", "after")
        return claims

    async def mortal_phase(claim: Claim, phase: Phase, **more: Any) -> Cluster:
        write = functools.partial(set_phase, claim, phase, **more)
        return await fuse.around(f"phase:{phase}", write, REQUEST_SECONDS)

    setattr(store.leases, "claim", mortal_claim)  # noqa: B010 - a plain assignment is refused by mypy
    setattr(store.status, "set_phase", mortal_phase)  # noqa: B010
    for part, method, point in (
        (store.status, "set_endpoints", "endpoints"),
        (store.provisioning, "begin", "begin"),
        (store.provisioning, "set_paused", "paused"),
        (store.template_builds, "saved", "template_saved"),
        (store.template_builds, "verified", "template_verified"),
        (store.checkpoints, "made", "checkpoint_made"),
        (store.leases, "release", "release"),
    ):
        _tap_method(part, method, point, REQUEST_SECONDS, fuse)


def _tap_method(target: object, method: str, point: str, within_seconds: float, fuse: Fuse) -> None:
    original = getattr(target, method)

    @functools.wraps(original)
    async def mortal(*arguments: Any, **more: Any) -> Any:
        return await fuse.around(point, functools.partial(original, *arguments, **more), within_seconds)

    setattr(target, method, mortal)


def tap_requests(fuse: Fuse) -> None:
    """Points around the requests that change something on the engine."""
    names: dict[str, str] = {}

    def part(container: DockerContainer) -> str:
        found = [*container._container.get("Names", ()), names.get(container.id, "?")]
        return str(found[0]).rpartition("-")[2]

    create, show = DockerContainers.create, DockerContainer.show

    @functools.wraps(create)
    async def mortal_create(self: DockerContainers, config: JSONObject, *, name: str | None = None) -> DockerContainer:
        assert name is not None, "every container of ours has a name"
        request = functools.partial(create, self, config, name=name)
        made = await fuse.around(f"create:{name.rpartition('-')[2]}", request, REQUEST_SECONDS)
        names[made.id] = name
        return made

    @functools.wraps(show)
    async def noting_show(self: DockerContainer, **more: Any) -> Any:
        shown = await show(self, **more)
        names[shown["Id"]] = shown["Name"]
        return shown

    DockerContainers.create = mortal_create  # type: ignore[method-assign]
    DockerContainer.show = noting_show  # type: ignore[method-assign]
    for verb, method in {"put": "put_archive", "start": "start", "delete": "delete"}.items():
        _tap(method, verb, part, fuse)


def _tap(method: str, verb: str, part: Callable[[DockerContainer], str], fuse: Fuse) -> None:
    original = getattr(DockerContainer, method)

    @functools.wraps(original)
    async def mortal(self: DockerContainer, *arguments: Any, **more: Any) -> Any:
        return await fuse.around(f"{verb}:{part(self)}", lambda: original(self, *arguments, **more), REQUEST_SECONDS)

    setattr(DockerContainer, method, mortal)


def tap_driver(infrastructure: Infrastructure, fuse: Fuse) -> None:
    """Points around operations of several requests."""
    _tap_method(infrastructure.engine, "remove", "remove", STEP_SECONDS, fuse)
    _tap_method(infrastructure.images, "run", "oneshot", STEP_SECONDS, fuse)


def tap_machines(infrastructure: Infrastructure, fuse: Fuse) -> None:
    """Points around commands to machines."""
    machines = infrastructure.drivers.machines
    for method in ("pause", "resume", "save"):
        original = getattr(machines, method)

        async def mortal(
            container: str, *rest: Any, original: Any = original, method: str = method, **more: Any
        ) -> Any:
            point = f"{method}:{container.rpartition('-')[2]}"
            return await fuse.around(point, lambda: original(container, *rest, **more), MACHINE_SECONDS)

        setattr(machines, method, mortal)
    load = machines.load

    async def mortal_load(container: str, *rest: Any, then: Callable[[], Awaitable[None]], **more: Any) -> None:
        """Restored VMs continue within the same call, so `within` is no later than the end of the restore."""
        node = container.rpartition("-")[2]

        async def mortal_then() -> None:
            fuse.burn(f"load:{node}", "within")
            await then()
            fuse.burn(f"resume:{node}", "before")

        await fuse.around(f"load:{node}", lambda: load(container, *rest, then=mortal_then, **more), MACHINE_SECONDS)
        fuse.burn(f"resume:{node}", "after")

    setattr(machines, "load", mortal_load)  # noqa: B010 - as the others


async def work(fuse: Fuse) -> None:
    """Until killed."""
    settings, clock = Settings(), SystemClock()
    configure_logging(settings)
    store = await Store.open(settings.database, key_source(settings))
    tap_store(store, fuse)
    tap_requests(fuse)
    steps = {name: MortalStep(name, step, fuse) for name, step in STEPS.items()}
    async with open_infrastructure(settings, clock) as infrastructure:
        tap_driver(infrastructure, fuse)
        tap_machines(infrastructure, fuse)
        print("waiting", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*worker_jobs(settings, store, infrastructure, clock, steps=steps))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kill", required=True, metavar="POINT:WHEN")
    point, _, when = parser.parse_args().kill.rpartition(":")
    asyncio.run(work(Fuse(point, when)))


if __name__ == "__main__":
    main()
