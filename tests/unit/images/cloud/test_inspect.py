"""An image is looked at without a mount: how it can boot, whether it has cloud-init, its kernel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dayfly.domain.image import Boot, Firmware
from dayfly.errors import NoBootLoader, NoCloudInit, NotADiskImage
from dayfly.images.cloud.inspect import Inspection, copy_kernel, inspect
from tests.support.disk_images import CLOUD_FILES, MIB, ROOT_UUID, DiskImage, run

WHOLE = DiskImage()


async def look(tmp_path: Path, image: DiskImage, *, qcow2: bool = True) -> Inspection:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return await inspect(image.make(tmp_path / "made", qcow2=qcow2), scratch)


@pytest.mark.parametrize("qcow2", [True, False])
async def test_an_image_as_distributions_make_it_can_boot_in_each_way(tmp_path: Path, qcow2: bool) -> None:
    found = await look(tmp_path, WHOLE, qcow2=qcow2)
    assert (found.disk.label, [one.number for one in found.disk.partitions]) == ("gpt", [1, 14, 15])
    assert [one.file_system for one in found.disk.partitions] == ["ext", "", "fat"]
    assert found.cloud_init is True
    assert found.boot("bios") == Boot(firmware="bios")
    assert found.boot("uefi") == Boot(firmware="uefi")
    assert found.boot("direct") == Boot(firmware="direct", root=f"PARTUUID={ROOT_UUID}")


async def test_the_newest_kernel_and_its_initrd_are_copied(tmp_path: Path) -> None:
    files = CLOUD_FILES | {"/boot/vmlinuz-6.1.0-11-cloud": "without initrd", "/boot/vmlinuz-9-rescue-1": "rescue"}
    found = await look(tmp_path, replace(WHOLE, files=files))
    await copy_kernel(found, tmp_path)
    assert (tmp_path / "vmlinuz").read_text() == "new kernel"
    assert (tmp_path / "initrd").read_text() == "new initrd"


async def test_a_boot_file_system_of_its_own(tmp_path: Path) -> None:
    boot = {"/vmlinuz-6.19-300.fc44.x86_64": "kernel", "/initramfs-6.19-300.fc44.x86_64.img": "initramfs"}
    root = {path: text for path, text in CLOUD_FILES.items() if not path.startswith("/boot")}
    found = await look(tmp_path, replace(WHOLE, files=root, boot_files=boot))
    assert found.root is not None
    assert found.root.number == 1
    await copy_kernel(found, tmp_path)
    assert (tmp_path / "initrd").read_text() == "initramfs"


@pytest.mark.parametrize(
    ("image", "firmware", "reason"),
    [
        (replace(WHOLE, boot_code=False), "bios", r"no boot loader for BIOS \(boot: bios\); it can boot: uefi, direct"),
        (replace(WHOLE, bios_partition=False), "bios", "no boot loader for BIOS"),
        (replace(WHOLE, efi_files=None), "uefi", "no boot loader for UEFI"),
        (replace(WHOLE, efi_files=("EFI/lab/grubx64.efi",)), "uefi", "no boot loader for UEFI"),
        (
            replace(WHOLE, files={"/etc/os-release": "", "/usr/bin/cloud-init": ""}),
            "direct",
            "no kernel with an initrd",
        ),
        (replace(WHOLE, label="dos", boot_code=False), "bios", "it can boot: direct"),
    ],
)
async def test_an_image_that_cannot_boot_as_the_base_says(
    tmp_path: Path, image: DiskImage, firmware: Firmware, reason: str
) -> None:
    found = await look(tmp_path, replace(image, efi_files=None) if image.label == "dos" else image)
    with pytest.raises(NoBootLoader, match=reason) as refused:
        found.boot(firmware)
    assert refused.value.code == "no_boot_loader"


async def test_a_dos_table_needs_no_place_for_the_second_stage(tmp_path: Path) -> None:
    found = await look(tmp_path, replace(WHOLE, label="dos", efi_files=None))
    assert found.boot("bios") == Boot(firmware="bios")
    assert found.boot("direct").root == "PARTUUID=abcd1234-01"


async def test_an_image_without_cloud_init(tmp_path: Path) -> None:
    files = {path: text for path, text in CLOUD_FILES.items() if "cloud-init" not in path}
    found = await look(tmp_path, replace(WHOLE, files=files))
    with pytest.raises(NoCloudInit) as refused:
        found.boot("bios")
    assert refused.value.code == "no_cloud_init"


async def test_a_disk_without_a_root_file_system_has_no_cloud_init(tmp_path: Path) -> None:
    found = await look(tmp_path, replace(WHOLE, files={"/readme": ""}))
    assert found.root is None
    with pytest.raises(NoCloudInit):
        found.boot("uefi")


@pytest.mark.parametrize("file_system", ["xfs", "btrfs"])
async def test_what_cannot_be_read_without_a_mount_is_not_known(tmp_path: Path, file_system: str) -> None:
    found = await look(tmp_path, replace(WHOLE, file_system=file_system))
    assert found.root is not None
    assert found.root.file_system == file_system
    assert found.cloud_init is None
    assert found.boot("uefi") == Boot(firmware="uefi")
    with pytest.raises(NoBootLoader, match="no kernel"):
        found.boot("direct")
    with pytest.raises(NoBootLoader):
        await copy_kernel(found, tmp_path)


async def test_what_is_no_disk_image(tmp_path: Path) -> None:
    for content in (b"", b"<html>", b"QFI\xfb" + bytes(600)):
        path = tmp_path / "disk.qcow2"
        path.write_bytes(content)
        with pytest.raises(NotADiskImage) as refused:
            await inspect(path, tmp_path)
        assert refused.value.code == "not_a_disk_image"


async def test_a_file_system_without_partitions_is_no_cloud_image(tmp_path: Path) -> None:
    image = tmp_path / "plain.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, str(4 * MIB))
    found = await inspect(image, tmp_path)
    with pytest.raises(NotADiskImage, match="no partition table"):
        found.boot("bios")


@pytest.mark.parametrize("option", ["backing", "data"])
async def test_an_image_that_names_a_file_of_this_machine_is_refused(tmp_path: Path, option: str) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(MIB))
    image = tmp_path / "evil.qcow2"
    if option == "backing":
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, image, str(MIB))
    else:
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={secret}", image, str(MIB))
    with pytest.raises(NotADiskImage, match=r"names another file \(.*secret\.raw\), which is refused"):
        await inspect(image, tmp_path)


async def test_a_truncated_image(tmp_path: Path) -> None:
    image = WHOLE.make(tmp_path / "made")
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2])
    with pytest.raises(NotADiskImage, match="is damaged or truncated") as refused:
        await inspect(image, tmp_path)
    assert "ERROR" in refused.value.evidence["output"]


async def test_clusters_that_nothing_uses_are_no_damage(tmp_path: Path) -> None:
    image = WHOLE.make(tmp_path / "made")
    cluster = 1 << 16
    content = bytearray(image.read_bytes())
    content += bytes(-len(content) % cluster + cluster)
    table = int.from_bytes(content[48:56])
    block = int.from_bytes(content[table : table + 8])
    unused = len(content) // cluster - 1
    content[block + 2 * unused : block + 2 * unused + 2] = b"\0\1"
    image.write_bytes(content)
    assert (await inspect(image, tmp_path)).cloud_init is True
