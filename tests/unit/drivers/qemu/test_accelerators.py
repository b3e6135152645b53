"""The host's properties that saved VMs depend on."""

from __future__ import annotations

import pytest

from dayfly.drivers.qemu.accelerators import host_processor, processor_of

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
