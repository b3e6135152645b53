"""A machine saved on KVM can be loaded only on this host's processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from dayfly.drivers.qemu.vm import QemuMachines
from dayfly.errors import SavedElsewhere
from tests.support.played_qemu import NODE, Lab, make_lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return make_lab(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("saved_on_kvm", "loaded_on_kvm", "processor", "fits"),
    [
        (True, True, "before", True),
        (True, True, "after", False),
        (True, False, "before", False),
        (False, True, "before", False),
        (False, False, "after", True),
    ],
)
async def test_a_state_is_never_given_to_another_accelerator_or_on_kvm_to_another_processor(
    lab: Lab, saved_on_kvm: bool, loaded_on_kvm: bool, processor: str, fits: bool
) -> None:
    lab.machines, lab.qemu.kvm = QemuMachines(lab.engine, processor="before"), saved_on_kvm
    await lab.save(ram="whole")
    lab.qemu.status, lab.qemu.state, lab.qemu.kvm = "inmigrate", b"", loaded_on_kvm
    machines = QemuMachines(lab.engine, processor=processor)
    assert await machines.saved(NODE, str(lab.folder))
    if fits:
        await machines.load(NODE, str(lab.folder), ram="whole", timeout=10)
        assert lab.qemu.state == b"state"
        return
    with pytest.raises(SavedElsewhere, match="processor"):
        await machines.load(NODE, str(lab.folder), ram="whole", timeout=10)
    assert lab.qemu.state == b""
