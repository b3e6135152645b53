"""The mirror's cloud image and its broken kinds: partitions, boot loaders, files, and a download in parts. No VM.

With --long only: making its three kinds takes minutes. A bake uses the whole one (test_cloud_bake.py).
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.support.mirror.cloud_files import publish
from tests.support.mirror.cloud_image import MIB, CloudImage, Kind, cloud_image
from tests.support.mirror.disk_layout import SECTOR_BYTES, Partition
from tests.support.mirror.entered import entered
from tests.support.mirror.file_server import file_server
from tests.support.mirror.signing import signing_key

pytestmark = pytest.mark.long

LIMIT_SECONDS = 120


@dataclass(frozen=True)
class Disk:
    """An image, and its raw form."""

    image: CloudImage
    raw: Path

    def run(self, *argv: str | Path) -> str:
        return run(*argv)

    def in_root(self, command: str) -> str:
        """The output of a command of debugfs in the root file system."""
        return run("debugfs", "-R", command, f"{self.raw}?offset={self.image.layout.root.offset}")

    def has(self, path: str) -> bool:
        return "File not found" not in self.in_root(f"stat {path}")

    def read(self, partition: Partition, size: int) -> bytes:
        with self.raw.open("rb") as file:
            file.seek(partition.offset)
            return file.read(size)

    def first_sector(self) -> bytes:
        with self.raw.open("rb") as file:
            return file.read(SECTOR_BYTES)


def run(*argv: str | Path) -> str:
    """Both streams of a command that succeeds."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_SECONDS, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout.decode(errors="replace")


@contextmanager
def opened(kind: Kind) -> Iterator[Disk]:
    # Not pytest's temporary folder: that may be in memory.
    with entered(cloud_image(kind)) as image, tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        raw = Path(folder) / "disk.raw"
        run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image.path, raw)
        yield Disk(image, raw)


@pytest.fixture(scope="module")
def whole() -> Iterator[Disk]:
    with opened("whole") as disk:
        yield disk


def test_the_image_is_a_compressed_qcow2(whole: Disk) -> None:
    known = json.loads(run("qemu-img", "info", "--output=json", whole.image.path))
    assert (known["format"], known["virtual-size"]) == ("qcow2", MIB << 20)
    assert "backing-filename" not in known
    checked = json.loads(run("qemu-img", "check", "--output=json", whole.image.path))
    assert checked["compressed-clusters"] > 1000
    assert checked["check-errors"] == 0


def test_a_partition_table_with_bios_boot_esp_and_root(whole: Disk) -> None:
    table = json.loads(run("sfdisk", "--json", whole.raw))["partitiontable"]
    assert table["label"] == "gpt"
    layout = whole.image.layout
    found = {one["start"]: (one["size"], one["type"], one["uuid"].lower()) for one in table["partitions"]}
    wanted = (layout.bios, layout.esp, layout.root)
    assert found == {one.start: (one.sectors, one.type, one.id) for one in wanted}
    assert layout.root.start == max(found), "the root file system can grow"


def test_the_root_file_system_is_clean_and_is_a_cloud_images(whole: Disk) -> None:
    run("e2fsck", "-f", "-n", f"{whole.raw}?offset={whole.image.layout.root.offset}")
    for path in (
        "/usr/bin/cloud-init",
        "/usr/sbin/netplan",
        "/usr/sbin/sshd",
        "/usr/sbin/qemu-ga",
        "/usr/bin/growpart",
    ):
        assert whole.has(path), path
    assert whole.in_root("cat /etc/machine-id").splitlines()[-1] == "uninitialized"
    assert "ssh_host_" not in whole.in_root("ls -p /etc/ssh")
    assert not whole.has("/etc/apt/sources.list")
    assert f"PARTUUID={whole.image.layout.root.id} / ext4" in whole.in_root("cat /etc/fstab")


def test_the_boot_loaders_find_kernel_and_initrd(whole: Disk) -> None:
    layout = whole.image.layout
    assert b"GRUB" in whole.first_sector()[:440]
    assert any(whole.read(layout.bios, SECTOR_BYTES))
    esp = f"{whole.raw}@@{layout.esp.offset}"
    assert "BOOTX64" in run("mdir", "-i", esp, "::/EFI/BOOT")
    config = whole.in_root("cat /boot/grub/grub.cfg")
    assert f"--set=root {layout.root_uuid}" in config
    paths = {words[1] for line in config.splitlines() if (words := line.split()) and words[0] in {"linux", "initrd"}}
    assert len(paths) == 2
    assert all(whole.has(path) for path in paths)
    assert whole.has("/boot/grub/i386-pc/normal.mod")
    assert whole.has("/boot/grub/x86_64-efi/normal.mod")


def test_an_image_without_boot_loader() -> None:
    with opened("no-boot-loader") as disk:
        assert not any(disk.first_sector()[:440])
        for partition in (disk.image.layout.bios, disk.image.layout.esp):
            assert not any(disk.read(partition, 1 << 20))
        assert json.loads(run("sfdisk", "--json", disk.raw))["partitiontable"]["label"] == "gpt"
        assert disk.has("/usr/bin/cloud-init")


def test_an_image_without_cloud_init() -> None:
    with opened("no-cloud-init") as disk:
        assert not disk.has("/usr/bin/cloud-init")
        assert not disk.has("/lib/systemd/system/cloud-init.service")
        assert b"GRUB" in disk.first_sector()[:440]
        assert disk.has("/usr/sbin/sshd")


def test_an_interrupted_download_goes_on(whole: Disk, tmp_path: Path) -> None:
    with signing_key() as key:
        published = publish(whole.image.path, tmp_path / "served", key)
    with file_server(published.folder) as server, httpx.Client(base_url=server.url, trust_env=False) as client:
        half = whole.image.path.stat().st_size // 2
        server.dies_after[published.name] = half
        digest, received = hashlib.sha256(), 0
        for _ in range(2):
            headers = {"Range": f"bytes={received}-"} if received else {}
            with client.stream("GET", f"/{published.name}", headers=headers) as response:
                try:
                    for part in response.iter_bytes():
                        digest.update(part)
                        received += len(part)
                except httpx.RemoteProtocolError:
                    server.dies_after.clear()
    assert [one.range for one in server.asked] == [None, f"bytes={half}-"]
    assert digest.hexdigest() == published.sha256
