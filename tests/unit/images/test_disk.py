"""The initrd's kernel modules, and their order."""

from __future__ import annotations

from pathlib import Path

import pytest

from dayfly.errors import BakeFailed
from dayfly.images.disk import _insertion_order


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    (tmp_path / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    (tmp_path / "modules.dep").write_text(
        "kernel/net/virtio_net.ko: kernel/net_failover.ko kernel/failover.ko kernel/virtio.ko\n"
        "kernel/net_failover.ko: kernel/failover.ko\n"
        "kernel/failover.ko:\n"
        "kernel/virtio.ko:\n"
        "kernel/block/virtio-blk.ko: kernel/virtio.ko\n"
    )
    return tmp_path


def test_what_a_module_needs_comes_before_it_and_once(modules: Path) -> None:
    order = list(_insertion_order(modules, ["virtio_net", "virtio_blk", "ext4"]))
    assert order == [
        "kernel/virtio.ko",
        "kernel/failover.ko",
        "kernel/net_failover.ko",
        "kernel/net/virtio_net.ko",
        "kernel/block/virtio-blk.ko",
    ]


def test_a_module_that_the_kernel_has_not_got_fails_the_bake(modules: Path) -> None:
    with pytest.raises(BakeFailed, match="qemu_fw_cfg"):
        list(_insertion_order(modules, ["qemu_fw_cfg"]))
