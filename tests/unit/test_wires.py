"""The small answers that routes are handed."""

from __future__ import annotations

import pytest

from dayfly.api import MemoryUse
from dayfly.domain import naming
from dayfly.drivers.fake import FakeImages
from dayfly.drivers.protocols import Memory
from dayfly.errors import (
    CommandFailed,
    ContainerExited,
    DayflyError,
    DockerUnavailable,
    Internal,
    NotANodeImage,
    VmExited,
)
from dayfly.wires import Catalog, MachineMemory
from tests.support.specs import make_cluster, make_manifest

CLUSTER = make_cluster()


class Machines:
    """Machines of which one tells of its memory, or fails to."""

    def __init__(self, error: DayflyError | None = None) -> None:
        self.error = error

    async def memory(self, container: str) -> Memory:
        assert container == naming.container_name(CLUSTER.id, "node01")
        if self.error is not None:
            raise self.error
        return Memory(shared=3, private=1, proportional=2)


async def test_an_image_of_an_older_dayfly_is_refused_by_name() -> None:
    images = FakeImages()
    old = make_manifest().model_copy(update={"schema_version": 1})
    images.add_node_image("dayfly/bare:latest", old.model_dump_json())
    with pytest.raises(NotANodeImage, match="bake"):
        await Catalog(images).resolve("dayfly/bare:latest")
    images.add_node_image("dayfly/bare:latest", make_manifest().model_dump_json())
    assert (await Catalog(images).resolve("dayfly/bare:latest"))[1] == make_manifest()


async def test_a_machine_tells_of_its_memory() -> None:
    gauge = MachineMemory(Machines())  # type: ignore[arg-type]
    assert await gauge.read(CLUSTER, "node01") == MemoryUse(shared_bytes=3, private_bytes=1, proportional_bytes=2)


@pytest.mark.parametrize("error", [VmExited, ContainerExited, CommandFailed, DockerUnavailable])
async def test_one_that_does_not_run_has_none(error: type[DayflyError]) -> None:
    assert await MachineMemory(Machines(error("away"))).read(CLUSTER, "node01") is None  # type: ignore[arg-type]


async def test_a_defect_stays_one() -> None:
    with pytest.raises(Internal):
        await MachineMemory(Machines(Internal("x"))).read(CLUSTER, "node01")  # type: ignore[arg-type]
