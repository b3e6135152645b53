"""QMP with a real QEMU: a node container of the `bare` image, without waiting for its guest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from dayfly.domain.cluster import qemu_cmdline
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.docker.images import DockerImages
from dayfly.drivers.qemu.kvm_probe import probe_kvm
from dayfly.drivers.qemu.qmp import qmp
from dayfly.drivers.ssh import SshConnections
from dayfly.errors import CommandFailed, ContainerExited, VmExited
from tests.support.real_machines import RealMachines, real_spec
from tests.support.steps import cluster_id, engine, images, instance

__all__ = ["engine", "images", "instance"]
pytestmark = pytest.mark.vm

BARE = "dayfly/bare:latest"


@pytest.fixture
async def cluster(
    engine: DockerEngine, images: DockerImages, instance: str, tmp_path: Path
) -> AsyncIterator[RealMachines]:
    spec = await real_spec(images, BARE)
    answer = await probe_kvm(images, BARE, cache_file=tmp_path / "kvm.json")
    ssh = SshConnections()
    yield RealMachines(engine, ssh, spec, cluster_id(instance), instance, answer.accelerator)
    await ssh.close()


async def test_a_machine_is_asked_paused_and_ended(engine: DockerEngine, cluster: RealMachines) -> None:
    await cluster.start(qemu_cmdline.boot)
    # Its socket may not be there yet.
    async with qmp(engine, cluster.node, timeout=60, starting=True) as session:
        assert await session.status() == "running"
    async with qmp(engine, cluster.node) as session:
        await session.execute("stop")
        assert await session.status() == "paused"
        await session.execute("cont")
        assert await session.status() == "running"
        with pytest.raises(CommandFailed, match="no-such-command"):
            await session.execute("no-such-command")
        with suppress(VmExited):
            # It may be gone before its answer is here.
            await session.execute("quit")

    async with asyncio.timeout(30):
        assert await engine.wait_exit(cluster.node) == 0
    with pytest.raises(ContainerExited):
        async with qmp(engine, cluster.node):
            pytest.fail("there is nobody to talk to")


async def test_a_session_that_stands_still_does_not_keep_the_machine_for_ever(
    engine: DockerEngine, cluster: RealMachines
) -> None:
    await cluster.start(qemu_cmdline.boot)
    async with qmp(engine, cluster.node, timeout=60, starting=True) as session:
        await session.status()
    # Like a session of a suspended process: QEMU serves one session at a time.
    async with qmp(engine, cluster.node, timeout=3) as idle, qmp(engine, cluster.node, timeout=60) as session:
        assert await session.status() == "running"
        with pytest.raises(VmExited):
            await idle.status()
