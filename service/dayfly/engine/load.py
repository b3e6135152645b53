"""The step `load`: all machines of a cluster from what was saved of them, going on at the same moment.

Their clocks are right afterwards; those of forks are when they have become themselves (identify.py).

Saved memory is only good as long as its disk has not moved on. What forks and checkpoints are loaded from never
changes, and they get a disk of their own each time. What hibernates keeps its disk: its memory is discarded after all
machines have been loaded and before any of them goes on. So whoever finds it there may load it, and whoever finds it
gone while all are loaded lets them go on.
"""

from __future__ import annotations

import asyncio

from dayfly.concurrency import first_failure_only
from dayfly.domain import qemu
from dayfly.domain.limits import TEARDOWN_SECONDS, TimeLimits
from dayfly.drivers.protocols import File, Ram
from dayfly.engine.alive import container_evidence, while_running
from dayfly.engine.saved import discard, folder_of, load_registry
from dayfly.engine.seed import seed_file
from dayfly.engine.standstill import DOWN, INCOMING, RUNNING, SILENT, go_on, on_time, set_clocks, standings
from dayfly.engine.step import StepContext
from dayfly.errors import CommandFailed, SavedStateMissing

_NOT_LOADED = frozenset({DOWN, SILENT, INCOMING})


class Load:
    """Starts the machines' containers, loads what was saved, and lets all go on."""

    def limit(self, limits: TimeLimits) -> float:
        return limits.sandbox + limits.load + 3 * limits.command

    async def check(self, context: StepContext) -> bool:
        if set((await self._standings(context)).values()) != {RUNNING}:
            return False
        if not _sets_clocks(context):
            return True
        machines, names = context.drivers.machines, [container.name for container in context.topology.nodes]
        looks = (on_time(machines, name, context.clock, timeout=context.limits.command) for name in names)
        return all(await asyncio.gather(*looks))

    async def apply(self, context: StepContext) -> None:
        machines, topology, origin = context.drivers.machines, context.topology, context.origin
        found = await self._fit_together(context, await self._standings(context))
        await self._forget(context)
        async with first_failure_only(), asyncio.TaskGroup() as group:
            for node in context.spec.nodes():
                one = context.of(node)
                if found[one.container.name] in _NOT_LOADED:
                    group.create_task(self._load(one, found[one.container.name]))
        if origin.kind == "checkpoint":
            await load_registry(context.drivers.engine, topology, origin.folder, timeout=context.limits.load)
        if origin.keeps_disks:
            await discard(machines, topology, origin.folder)
        await go_on(machines, topology)
        context.progress(f"all machines go on ({origin})")
        if _sets_clocks(context):
            await set_clocks(machines, topology, context.clock, timeout=context.limits.command)

    async def undo(self, context: StepContext) -> None:
        engine = context.drivers.engine
        async with asyncio.timeout(TEARDOWN_SECONDS):
            if not context.origin.keeps_disks:
                await engine.remove(context.cluster.id, only={container.name for container in context.topology.nodes})
                return
            # What was loaded stays: there may be no other copy of it any more.
            for name, standing in (await self._standings(context)).items():
                if standing in {SILENT, INCOMING}:
                    await engine.stop(name)

    async def _standings(self, context: StepContext) -> dict[str, str]:
        return dict(await standings(context.drivers, context.topology, context.cluster.id))

    async def _fit_together(self, context: StepContext, found: dict[str, str]) -> dict[str, str]:
        """No machine may begin later than others that go on already; with disks of their own all begin anew."""
        whole = set(found.values())
        if context.origin.keeps_disks or RUNNING not in whole or not whole & _NOT_LOADED:
            return found
        for name in found:
            await context.drivers.engine.stop(name)
        return dict.fromkeys(found, DOWN)

    async def _forget(self, context: StepContext) -> None:
        """A connection to what the machine was before would stay silent for as long as TCP has patience."""
        if context.was_ready:
            for node in context.spec.nodes():
                await context.drivers.ssh.forget(await context.ssh_target(node))

    async def _load(self, context: StepContext, standing: str) -> None:
        engine, container, origin = context.drivers.engine, context.container, context.origin
        if standing in {SILENT, INCOMING}:
            # Somebody who died may have begun to load it, which QEMU does but once.
            await engine.stop(container.name)
        await context.ensure(
            container, [seed_file(context.cluster.id, context.this_node, context.secrets), _start(context)]
        )
        folder = folder_of(origin.folder, container)
        if origin.keeps_disks and not await context.drivers.machines.saved(container.name, folder):
            raise SavedStateMissing(f"the memory of {context.this_node.name} is not in {folder} any more")
        ram: Ram = "shared" if origin.kind == "template" else "whole"
        loading = context.drivers.machines.load(container.name, folder, ram=ram, timeout=context.limits.load)
        try:
            await while_running(engine, [context.topology.net, container], loading)
        except CommandFailed as error:
            error.evidence |= await container_evidence(engine, container)
            raise
        context.progress(f"{context.this_node.name} is loaded")


def _sets_clocks(context: StepContext) -> bool:
    """A fork's are set when it becomes itself (identify.py): every talk and every process is dear to its guest now."""
    return context.origin.kind != "template"


def _start(context: StepContext) -> File:
    """How the container starts. Its seed is there, too: a later start is a boot."""
    machine, folder = context.machine, folder_of(context.origin.folder, context.container)
    if context.origin.kind == "template":
        start = qemu.fork(machine, folder)
    else:
        start = qemu.restore(machine, folder, keep_disk=context.origin.keeps_disks)
    return File(qemu.START_FILE, qemu.start_file(start))
