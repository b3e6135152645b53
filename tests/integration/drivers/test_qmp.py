"""QMP with a real QEMU: a node container of the `bare` image, without waiting for its guest."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dayfly.domain.image import ImageManifest
from dayfly.domain.naming import LABEL_IMAGE
from dayfly.domain.secrets import new_secrets
from dayfly.domain.spec import ClusterSpec
from dayfly.domain.topology import Publication, Topology, compute_topology
from dayfly.drivers.docker import DockerEngine
from dayfly.drivers.docker_images import DockerImages
from dayfly.drivers.kvm import probe_kvm
from dayfly.drivers.qmp import qmp
from dayfly.engine.seed import seed_file
from dayfly.errors import CommandFailed, ContainerExited, VmExited
from tests.support.engine import cluster_id, engine, images, instance

__all__ = ["engine", "images", "instance"]
pytestmark = pytest.mark.vm

BARE = "dayfly/bare:latest"


@pytest.fixture
async def spec(images: DockerImages) -> ClusterSpec:
    found = await images.inspect(BARE)
    manifest = ImageManifest.model_validate_json(found.labels[LABEL_IMAGE])
    return ClusterSpec(
        image=BARE, image_id=found.id, manifest=manifest, control_plane=manifest.minimum, worker=manifest.minimum
    )


@pytest.fixture
async def topology(spec: ClusterSpec, images: DockerImages, instance: str, tmp_path: Path) -> Topology:
    answer = await probe_kvm(images, BARE, spec.manifest.kernel, cache_file=tmp_path / "kvm.json")
    return compute_topology(
        cluster_id(instance), spec, instance=instance, accelerator=answer.accelerator, publication=Publication()
    )


async def test_a_machine_is_asked_paused_and_ended(
    engine: DockerEngine, spec: ClusterSpec, topology: Topology, instance: str
) -> None:
    node = topology.node(1)
    seed = seed_file(cluster_id(instance), spec.nodes()[0], new_secrets(spec, datetime.now(UTC)))
    await engine.ensure(topology.net)
    await engine.ensure(node, [seed])

    async with asyncio.timeout(60):
        while (status := await _status(engine, node.name)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert status == "running"
    async with qmp(engine, node.name) as session:
        await session.execute("stop")
        assert await session.status() == "paused"
        await session.execute("cont")
        assert await session.status() == "running"
        with pytest.raises(CommandFailed, match="no-such-command"):
            await session.execute("no-such-command")
        await session.quit()

    async with asyncio.timeout(30):
        assert await engine.wait_exit(node.name) == 0
    with pytest.raises(ContainerExited):
        await _status(engine, node.name)


async def _status(engine: DockerEngine, name: str) -> str | None:
    """None while QEMU has not yet made its socket."""
    try:
        async with qmp(engine, name) as session:
            return await session.status()
    except VmExited:
        return None
