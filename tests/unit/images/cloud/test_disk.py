"""A bake's disk: an overlay over the untouched image; its seed: a FAT disk that cloud-init finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dayfly.domain.security.secrets import SshKeyPair
from dayfly.errors import BakeFailed, InvalidRequest, NotADiskImage
from dayfly.images.cloud.disk import pack_disk, prepare_disk
from dayfly.images.cloud.seed import BakeSeed, seed_disk
from dayfly.images.cloud.tools import TOOLS, check_tools
from tests.support.disk_images import MIB, DiskImage, run

SEED = BakeSeed(
    user_key="ssh-ed25519 AAAA bake",
    host_key=SshKeyPair(private="-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n", public="ssh-ed25519 BBBB"),
    mac="52:55:00:d1:55:01",
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rename(folder: Path, target: Path) -> Path:
    return folder.rename(target)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("qcow2", [True, False])
async def test_the_disk_is_an_overlay_and_the_image_stays(tmp_path: Path, target: Path, qcow2: bool) -> None:
    image = DiskImage().make(tmp_path / "made", qcow2=qcow2)
    before = image.read_bytes()
    disk = await prepare_disk(image, target, disk_gib=2)
    moved = rename(target, tmp_path / "moved")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", moved / disk.name)
    information = json.loads(run("qemu-img", "info", "--output=json", moved / disk.name))
    assert information["virtual-size"] == 2 << 30
    assert information["backing-filename"] == "base.qcow2"
    assert information["backing-filename-format"] == ("qcow2" if qcow2 else "raw")
    assert image.read_bytes() == before


async def test_a_packed_disk_has_the_same_content_over_the_same_image(tmp_path: Path, target: Path) -> None:
    disk = await prepare_disk(DiskImage().make(tmp_path / "made"), target, disk_gib=1)
    run("qemu-io", "-f", "qcow2", "-c", "write -P 7 8M 4M", "-c", "write -P 9 16M 4M", "-c", "discard 8M 4M", disk)
    (tmp_path / "former.qcow2").write_bytes(disk.read_bytes())
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, tmp_path / "before.raw")
    size = disk.stat().st_size
    await pack_disk(target)
    assert disk.stat().st_size < size - 3 * MIB
    run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", tmp_path / "before.raw", disk)
    assert json.loads(run("qemu-img", "info", "--output=json", disk))["backing-filename"] == "base.qcow2"
    assert names(target) == ["base.qcow2", "disk.qcow2"]


async def test_a_disk_smaller_than_the_image_is_refused(tmp_path: Path, target: Path) -> None:
    image = DiskImage().make(tmp_path / "made")
    run("qemu-img", "resize", "-q", image, "2500M")
    with pytest.raises(InvalidRequest, match="disk_gib is 2, but the disk of the cloud image has 3 GiB"):
        await prepare_disk(image, target, disk_gib=2)
    assert names(target) == []


async def test_only_disk_images_are_prepared(tmp_path: Path, target: Path) -> None:
    page = tmp_path / "page.qcow2"
    page.write_text("<html>")
    with pytest.raises(NotADiskImage):
        await prepare_disk(page, target, disk_gib=2)


async def test_the_seed_is_a_disk_that_cloud_init_finds(tmp_path: Path) -> None:
    disk = tmp_path / "seed.img"
    await seed_disk(disk, SEED, tmp_path)
    assert 'LABEL="CIDATA"' in run("blkid", "--probe", disk)
    for name, text in SEED.files().items():
        assert run("mtype", "-i", disk, f"::/{name}") == text
    assert disk.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["seed.img"], "no key is left beside the disk"


async def test_a_seed_is_never_written_over_another_file(tmp_path: Path) -> None:
    (tmp_path / "seed.img").write_text("mine")
    with pytest.raises(FileExistsError):
        await seed_disk(tmp_path / "seed.img", SEED, tmp_path)


def test_the_guest_gets_the_keys_of_the_bake_and_waits_for_nothing() -> None:
    files = SEED.files()
    assert files["user-data"].startswith("#cloud-config\n")
    user = yaml.safe_load(files["user-data"])
    assert user["users"] == [{"name": "root", "lock_passwd": True, "ssh_authorized_keys": [SEED.user_key]}]
    assert user["ssh_keys"] == {"ed25519_private": SEED.host_key.private, "ed25519_public": SEED.host_key.public}
    assert (user["disable_root"], user["ssh_deletekeys"]) == (False, True)
    assert user["growpart"]["devices"] == ["/"]
    stages = [user[f"cloud_{stage}_modules"] for stage in ("init", "config", "final")]
    assert stages == [["growpart", "resizefs", "users_groups", "ssh"], [], []], "in place of the image's own lists"
    (card,) = yaml.safe_load(files["network-config"])["ethernets"].values()
    assert card["match"] == {"macaddress": SEED.mac}
    assert "optional" not in card, "systemd-networkd-wait-online waits for two minutes without a card that is required"
    meta = yaml.safe_load(files["meta-data"])
    assert meta["local-hostname"] == "bake"
    again = BakeSeed(SEED.user_key, SEED.host_key, SEED.mac).files()["meta-data"]
    assert yaml.safe_load(again)["instance-id"] != meta["instance-id"], "cloud-init runs once for each instance"


def test_a_seed_does_not_show_its_private_key() -> None:
    assert "PRIVATE" not in repr(SEED)


def test_missing_programs_are_named_with_their_packages() -> None:
    check_tools(lambda _: "/usr/bin/x")
    with pytest.raises(BakeFailed, match="cloud images need mdir, sfdisk: apt-get install fdisk mtools"):
        check_tools(lambda tool: None if tool in {"mdir", "sfdisk"} else "/usr/bin/x")


def test_the_scripts_install_every_package_that_cloud_images_need() -> None:
    library = (Path(__file__).parents[4] / "deploy" / "lib.sh").read_text()
    listed = {
        word
        for name in ("RUNTIME_PACKAGES", "BAKE_PACKAGES", "TEST_PACKAGES")
        for word in library.partition(f"{name}=(")[2].partition(")")[0].split()
    }
    assert set(TOOLS.values()) <= listed
