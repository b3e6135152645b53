"""A real engine for tests: a driver with its own instance name, and a tiny image that needs no pull."""

from __future__ import annotations

import secrets
import socket
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dayfly.domain.cluster.naming import (
    LABEL_CLUSTER,
    LABEL_GENERATION,
    LABEL_INSTANCE,
    LABEL_NODE,
    LABEL_ROLE,
    container_name,
)
from dayfly.domain.cluster.topology import ContainerSpec, Role
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.docker.images import DockerImages
from dayfly.errors import ImageMissing

BUSYBOX_IMAGE = "dayfly/test-busybox:latest"
_BUSYBOX = Path("/usr/bin/busybox")
_APPLETS = ("sh", "sleep", "tar", "tail", "cat", "echo", "true", "false", "httpd", "id", "ls", "stat", "head", "grep")


@pytest.fixture
async def images() -> AsyncIterator[DockerImages]:
    """The images of the real engine."""
    store = DockerImages()
    yield store
    await store.close()


@pytest.fixture
async def busybox(images: DockerImages, tmp_path: Path) -> str:
    """The reference of an image with a shell and a few tools; made when it is missing, and kept."""
    try:
        await images.inspect(BUSYBOX_IMAGE)
    except ImageMissing:
        tar = tmp_path / "busybox.tar"
        pack_busybox(tar)
        await images.import_rootfs(tar, BUSYBOX_IMAGE, changes=["LABEL dayfly.test=busybox"])
    return BUSYBOX_IMAGE


@pytest.fixture
def instance() -> str:
    """A name no other test uses: it owns, and removes, what it makes."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture
async def engine(instance: str) -> AsyncIterator[DockerEngine]:
    """The real engine, as `instance`; whatever a test left of cluster `cluster_id(instance)` is removed."""
    driver = DockerEngine(instance=instance)
    yield driver
    await driver.remove(cluster_id(instance))
    await driver.close()


def cluster_id(instance: str) -> str:
    """The only cluster of a test."""
    return f"c{instance.removeprefix('test-')}"


def container(
    instance: str,
    part: str,
    *command: str,
    role: Role = "node",
    image: str = BUSYBOX_IMAGE,
    cluster: str | None = None,
    **more: object,
) -> ContainerSpec:
    """A container of the test's cluster that runs `command`."""
    cluster = cluster or cluster_id(instance)
    labels = {
        LABEL_CLUSTER: cluster,
        LABEL_ROLE: role,
        LABEL_INSTANCE: instance,
        LABEL_GENERATION: "1",
    }
    if role == "node":
        labels[LABEL_NODE] = part
    return ContainerSpec(
        name=container_name(cluster, part),
        role=role,
        image=image,
        command=command or ("sleep", "3600"),
        labels=labels,
        node=part if role == "node" else None,
        **more,  # type: ignore[arg-type]
    )


def pack_busybox(tar: Path) -> None:
    """A root file system: the host's static busybox under the names of its tools."""
    with tarfile.open(tar, "w") as archive:
        for folder in ("bin", "tmp", "run/dayfly", "var/log/dayfly", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        archive.add(_BUSYBOX.resolve(), "bin/busybox")
        for applet in _APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)


def free_ports(count: int) -> int:
    """The first of `count` adjacent ports that are free now."""
    for first in range(30000, 31000):
        held = []
        try:
            held = [socket.create_server(("127.0.0.1", first + offset)) for offset in range(count)]
        except OSError:
            continue
        finally:
            for server in held:
                server.close()
        if len(held) == count:
            return first
    raise AssertionError("no free ports")
