"""The small answers that routes are handed."""

from __future__ import annotations

import pytest

from dayfly.adapters import Catalog, MachineMemory, host_processor, processor_of
from dayfly.api import MemoryUse
from dayfly.domain.cluster import naming
from dayfly.drivers.interfaces import Memory
from dayfly.errors import (
    CommandFailed,
    ContainerExited,
    DayflyError,
    EngineUnavailable,
    Internal,
    NotANodeImage,
    VmExited,
)
from dayfly.testing.fakes import FakeImages
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


@pytest.mark.parametrize("error", [VmExited, ContainerExited, CommandFailed, EngineUnavailable])
async def test_one_that_does_not_run_has_none(error: type[DayflyError]) -> None:
    assert await MachineMemory(Machines(error("away"))).read(CLUSTER, "node01") is None  # type: ignore[arg-type]


async def test_a_defect_stays_one() -> None:
    with pytest.raises(Internal):
        await MachineMemory(Machines(Internal("x"))).read(CLUSTER, "node01")  # type: ignore[arg-type]


CPUINFO = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R) Gold 6230
stepping\t: 7
microcode\t: 0x5003604
cpu MHz\t\t: 2100.000
flags\t\t: fpu vme avx2 rtm

processor\t: 1
microcode\t: 0x1
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [("0x5003604", "0x5003707"), (" rtm", ""), ("Gold 6230", "Gold 6240"), ("stepping\t: 7", "stepping\t: 6")],
)
def test_saved_machines_on_kvm_depend_on_microcode_and_flags_beside_the_model(before: str, after: str) -> None:
    assert processor_of(CPUINFO, "6.1.0") != processor_of(CPUINFO.replace(before, after), "6.1.0")


def test_and_on_the_hosts_kernel_but_not_on_its_speed_of_the_moment() -> None:
    assert processor_of(CPUINFO, "6.1.0") != processor_of(CPUINFO, "6.12.0")
    assert processor_of(CPUINFO, "6.1.0") == processor_of(CPUINFO.replace("2100.000", "800.000"), "6.1.0")
    assert len(host_processor()) == 16
