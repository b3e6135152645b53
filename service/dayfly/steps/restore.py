"""The step `restore`: restores all machines of a cluster from a snapshot, and resumes them at the same moment.

Afterwards their clocks are right, except for forks: personalize.py sets these. Machines of a checkpoint, which may be
restored again, have new random numbers before: a pass that was cut off repeats both.

Saved memory is valid only while its disk does not change. The snapshots of templates and checkpoints never change:
machines that are restored from them get a new disk each time. A hibernated machine keeps its disk: its saved memory is
discarded after all machines are loaded and before any is resumed. So a pass that finds saved memory may load it, and a
pass that finds none while all machines are loaded resumes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from dayfly.concurrency import unwrap_exception_group
from dayfly.domain.cluster import qemu_cmdline
from dayfly.domain.cluster.timeouts import TEARDOWN_SECONDS, TimeLimits
from dayfly.domain.cluster.topology import ContainerSpec
from dayfly.drivers.interfaces import File, Ram
from dayfly.errors import CommandFailed, SavedStateMissing
from dayfly.steps.guest.reseed import reseed
from dayfly.steps.observe.exit_guard import container_evidence, while_running
from dayfly.steps.step import Step, StepContext
from dayfly.steps.vm.pause_resume import DOWN, INCOMING, PAUSED, RUNNING, SILENT, on_time, resume, set_clocks, vm_states
from dayfly.steps.vm.snapshot_files import discard, folder_of, load_registry

_NOT_LOADED = frozenset({DOWN, SILENT, INCOMING})


class Restore(Step):
    def limit(self, limits: TimeLimits) -> float:
        return limits.sandbox + limits.load + 3 * limits.command

    async def check(self, context: StepContext) -> bool:
        if set((await self._vm_states(context)).values()) != {RUNNING}:
            return False
        if not _sets_clocks(context):
            return True
        machines, names = context.drivers.machines, [container.name for container in context.topology.nodes]
        looks = (on_time(machines, name, context.clock, timeout=context.limits.command) for name in names)
        return all(await asyncio.gather(*looks))

    async def apply(self, context: StepContext) -> None:
        machines, topology, origin = context.drivers.machines, context.topology, context.boot_source
        found = await self._align(context, await self._vm_states(context))
        await self._forget(context)
        missing = [one for one in map(context.of, context.spec.nodes()) if found[one.container.name] in _NOT_LOADED]
        all_loaded, may_resume = asyncio.Barrier(len(missing) + 1), asyncio.Event()

        async def with_all() -> None:
            await all_loaded.wait()
            await may_resume.wait()

        async with unwrap_exception_group(), asyncio.TaskGroup() as group:
            for one in missing:
                group.create_task(self._load(one, found[one.container.name], with_all))
            await all_loaded.wait()
            if origin.kind == "checkpoint":
                await load_registry(context.drivers.engine, topology, origin, timeout=context.limits.load)
            if origin.keeps_disks:
                await discard(machines, topology, origin, fence=context.cluster.fence)
            may_resume.set()
            await resume(machines, found.keys() - {one.container.name for one in missing})
        context.progress(f"all machines are resumed ({origin})")
        if origin.kind == "checkpoint":
            await reseed(machines, topology, timeout=context.limits.command)
        if _sets_clocks(context):
            await set_clocks(machines, topology, context.clock, timeout=context.limits.command)

    async def undo(self, context: StepContext) -> None:
        engine = context.drivers.engine
        async with asyncio.timeout(TEARDOWN_SECONDS):
            if not context.boot_source.keeps_disks:
                await engine.remove(context.cluster.id, only={container.name for container in context.topology.nodes})
                return
            # Keep loaded machines: their saved memory may be discarded already.
            for name, state in (await self._vm_states(context)).items():
                if state in {SILENT, INCOMING}:
                    await engine.stop(name)

    async def _vm_states(self, context: StepContext) -> dict[str, str]:
        return dict(await vm_states(context.drivers, context.topology, context.cluster.id))

    async def _align(self, context: StepContext, found: dict[str, str]) -> dict[str, str]:
        """Stop all machines where some have run and others are not loaded: all must start from the same moment.

        A paused one may have run: in a pool. Not where the disks are kept: there, running machines are never stopped.
        """
        whole = set(found.values())
        if context.boot_source.keeps_disks or not whole & {RUNNING, PAUSED} or not whole & _NOT_LOADED:
            return found
        for name in found:
            await context.drivers.engine.stop(name)
        return dict.fromkeys(found, DOWN)

    async def _forget(self, context: StepContext) -> None:
        """Drop kept SSH connections: to the machine before, they would hang until TCP times out."""
        if context.was_ready:
            for node in context.spec.nodes():
                await context.drivers.ssh.forget(await context.ssh_target(node))

    async def _load(self, context: StepContext, state: str, with_all: Callable[[], Awaitable[None]]) -> None:
        engine, container, origin = context.drivers.engine, context.container, context.boot_source
        if state in {SILENT, INCOMING}:
            # A worker that died may have begun to load; QEMU loads only once per process.
            await engine.stop(container.name)
        await context.ensure(*_started(context))
        folder = folder_of(origin, container)
        if origin.keeps_disks and not await context.drivers.machines.saved(container.name, folder):
            raise SavedStateMissing(f"the saved memory of {context.this_node.name} is missing in {folder}")
        ram: Ram = "shared" if origin.kind == "template" else "whole"

        async def then() -> None:
            context.progress(f"{context.this_node.name} is loaded")
            await with_all()

        loading = context.drivers.machines.load(container.name, folder, ram=ram, timeout=context.limits.load, then=then)
        try:
            await while_running(context, loading)
        except CommandFailed as error:
            error.evidence |= await container_evidence(engine, container)
            raise


def _sets_clocks(context: StepContext) -> bool:
    """Not for forks: personalize.py sets their clocks, in the one process that it starts in the guest."""
    return context.boot_source.kind != "template"


def _started(context: StepContext) -> tuple[ContainerSpec, Sequence[File]]:
    """The container to start, with its files."""
    container, machine, origin = context.container, context.machine, context.boot_source
    folder = folder_of(origin, container)
    if origin.kind == "template":
        # A new container takes its arguments by environment: writing a file costs a process and 0.1 s.
        start = qemu_cmdline.start_environment(qemu_cmdline.fork(machine, folder))
        return replace(container, environment={**container.environment, **start}), ()
    restore = qemu_cmdline.restore(machine, folder, keep_disk=origin.keeps_disks)
    return container, (File(qemu_cmdline.START_FILE, qemu_cmdline.start_file(restore)),)
