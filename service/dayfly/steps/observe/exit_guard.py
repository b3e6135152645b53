"""Waits for something inside a cluster while its containers run: an exit ends the wait at once, with evidence."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from dayfly.domain.cluster import qemu_cmdline
from dayfly.domain.cluster.topology import ContainerSpec
from dayfly.drivers.interfaces import ContainerEngine
from dayfly.errors import ContainerExited, DayflyError, VmExited
from dayfly.steps.step import StepContext

EVIDENCE_BYTES = 32 * 1024

Result = TypeVar("Result")


async def while_running(context: StepContext, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, unless the network's container or a machine of the step ends first.

    Then VmExited or ContainerExited; everything else is cancelled.
    """
    engine, topology = context.drivers.engine, context.topology
    containers = (topology.net, *(topology.nodes if context.node is None else [context.container]))
    job = asyncio.ensure_future(work)
    guards = {asyncio.ensure_future(engine.wait_exit(container.name)): container for container in containers}
    pending: set[asyncio.Future[Any]] = {job, *guards}
    try:
        done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        ended = next((guard for guard in guards if guard in done), None)
        if ended is None or (job in done and job.exception() is None):
            return await job
        # The exit is the cause of a failure of the work.
        raise await exit_error(engine, guards[ended], ended.result())
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def is_running(engine: ContainerEngine, cluster_id: str, container: ContainerSpec) -> bool:
    return any(
        seen.name == container.name and seen.state == "running" for seen in await engine.list_containers(cluster_id)
    )


async def node_runs(engine: ContainerEngine, cluster_id: str, node: str) -> bool:
    """Whether the container of the node's VM runs. Raises EngineUnavailable."""
    return any(seen.node == node and seen.state == "running" for seen in await engine.list_containers(cluster_id))


async def require_running(engine: ContainerEngine, cluster_id: str, container: ContainerSpec) -> None:
    """Raises ContainerExited, with the container's log: the engine would only refuse to let others join it."""
    status = next((seen for seen in await engine.list_containers(cluster_id) if seen.name == container.name), None)
    if status is None or status.state != "running":
        raise await exit_error(engine, container, status.exit_code if status else None)


async def exit_error(engine: ContainerEngine, container: ContainerSpec, exit_code: int | None) -> DayflyError:
    evidence = await container_evidence(engine, container)
    if exit_code is None:
        return ContainerExited(f"{container.name} was removed, but not by Dayfly", evidence=evidence)
    kind = VmExited if container.role == "node" else ContainerExited
    last = next((line for line in reversed(evidence.get("log", "").splitlines()) if line.strip()), "no output")
    return kind(f"{container.name} ended with exit code {exit_code}: {last.strip()[:300]}", evidence=evidence)


async def container_evidence(engine: ContainerEngine, container: ContainerSpec) -> dict[str, str]:
    """The log of a container and, of a node, its serial console. Never raises."""
    evidence: dict[str, str] = {}
    try:
        evidence["log"] = await engine.logs(container.name)
        if container.role == "node":
            console = await engine.read_file(container.name, qemu_cmdline.CONSOLE_LOG, tail_bytes=EVIDENCE_BYTES)
            evidence["console"] = console.decode(errors="replace")
    except DayflyError as error:
        evidence["missing"] = f"{error.code}: {error.message}"
    return evidence
