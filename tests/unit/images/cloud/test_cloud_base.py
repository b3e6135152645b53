"""Bases are data of two kinds; invalid data is refused with the reason."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from dayfly import assets
from dayfly.domain.image import Boot, ImageManifest, NodeSize
from dayfly.errors import InvalidRequest, NotFound
from dayfly.images.cloud_base import CloudBase
from dayfly.images.plan import make_plan
from dayfly.images.recipe import Base, base_names, load_any_base, load_base
from tests.support.cloud_bases import FINGERPRINT, cloud_base, fields

SIGNED = {"url": "https://lab.invalid/SUMS", "key": "base/keys/lab.asc", "fingerprint": FINGERPRINT}
NEWER = {
    "index": "https://lab.invalid/images/",
    "pattern": r"disk-(\d+)\.qcow2",
    "url": "{index}{name}",
    "checksums": "{index}SUMS",
}


@pytest.fixture
def provisioning(tmp_path: Path) -> Path:
    return Path(shutil.copytree(assets.provisioning(), tmp_path / "provisioning"))


@pytest.mark.parametrize("name", base_names())
def test_every_base_that_ships_is_valid(name: str) -> None:
    base = load_any_base(name)
    assert isinstance(base, CloudBase) == name.endswith("-cloud")
    if isinstance(base, CloudBase):
        assert base.url.startswith("https://")
        assert base.signed_checksums is None or (assets.provisioning() / base.signed_checksums.key).is_file()


def test_both_kinds_and_all_families_ship() -> None:
    found = [load_any_base(name) for name in base_names()]
    assert {one.suite for one in found if isinstance(one, Base)} == {"bookworm", "trixie"}
    assert {one.family for one in found if isinstance(one, CloudBase)} == {"apt", "dnf", "zypper"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"url": "ftp://lab.invalid/x"}, "url: .*must be a URL of a file"),
        ({"url": "disk.qcow2"}, "must be a URL"),
        ({"url": "https://lab.invalid/"}, "must be a URL"),
        ({"url": "https://[/x"}, "must be a URL"),
        ({"checksum": "sha256:12"}, "checksum: "),
        ({"checksum": "md5:" + "a" * 32}, "checksum: "),
        ({"checksum": None}, "exactly one of checksum and signed_checksums"),
        ({"signed_checksums": SIGNED}, "exactly one of checksum and signed_checksums"),
        ({"checksum": None, "signed_checksums": SIGNED | {"fingerprint": "12"}}, "fingerprint: "),
        ({"family": "pacman"}, "family: "),
        ({"boot": "floppy"}, "boot: "),
        ({"user": "a b"}, "user: "),
        ({"max_gib": 0}, "max_gib: "),
        ({"packages": ["curl"]}, "packages: "),
        ({"newer": NEWER | {"pattern": "disk-("}}, "is no regular expression"),
        ({"newer": NEWER | {"pattern": "disk"}}, "must have one group"),
        ({"newer": NEWER | {"url": "{folder}x"}}, r"has \{folder\}; possible are \{index\}"),
        ({"newer": NEWER}, "does not have the form of newer.url"),
    ],
)
def test_what_no_base_can_say_is_refused_with_the_reason(
    provisioning: Path, changes: dict[str, Any], reason: str
) -> None:
    (provisioning / "base" / "mine.yaml").write_text(yaml.safe_dump(fields(**changes)))
    with pytest.raises(InvalidRequest, match=f"base/mine.yaml is not a valid base of the kind cloud-image: .*{reason}"):
        load_any_base("mine", provisioning)


@pytest.mark.parametrize("text", ["kind: floppy\n", "[]", "kind: [", ""])
def test_a_file_of_no_kind(provisioning: Path, text: str) -> None:
    (provisioning / "base" / "mine.yaml").write_text(text)
    with pytest.raises(InvalidRequest, match=r"base/mine\.yaml is not a valid base: ") as refused:
        load_any_base("mine", provisioning)
    assert "\n" not in refused.value.message


def test_an_unknown_base() -> None:
    with pytest.raises(NotFound, match="there is no base 'fedora'; there are: centos-stream-10-cloud, debian-12"):
        load_any_base("fedora")


def test_local_files_and_signed_checksums_are_allowed() -> None:
    assert cloud_base(url="file:///srv/images/disk.qcow2").file_name == "disk.qcow2"
    assert cloud_base(checksum=None, signed_checksums=SIGNED).checksum is None


def test_a_version_is_read_from_the_address() -> None:
    url = "https://lab.invalid/images/disk-7.qcow2"
    base = cloud_base(url=url, newer=NEWER)
    assert base.newer is not None
    assert base.newer.version_of(url) == "7"
    twice = cloud_base(
        url="https://lab.invalid/images/8-1/disk-8-1.qcow2",
        newer=NEWER | {"pattern": r"(\d+-\d+)/", "url": "{index}{version}/disk-{version}.qcow2"},
    )
    assert twice.newer is not None
    assert twice.newer.version_of(twice.url) == "8-1"
    with pytest.raises(ValidationError, match="does not have the form"):
        cloud_base(url="https://lab.invalid/images/8-1/disk-8-2.qcow2", newer=twice.newer)


def test_a_recipe_may_name_a_cloud_image_as_its_base(provisioning: Path) -> None:
    path = provisioning / "recipes" / "bare.yaml"
    before = make_plan("bare", provisioning)
    path.write_text(path.read_text().replace("base: debian-12", "base: fedora-44-cloud"))
    plan = make_plan("bare", provisioning)
    assert before.cloud is None
    assert plan.cloud is not None
    assert plan.cloud.base == load_any_base("fedora-44-cloud", provisioning)
    assert plan.keys.image not in {"", before.keys.image}
    # What is made of a root file system alone says so.
    with pytest.raises(InvalidRequest, match="the base fedora-44-cloud is a cloud image: only a root file system"):
        load_base("fedora-44-cloud", provisioning)


def test_a_manifest_without_boot_is_that_of_older_releases() -> None:
    size = NodeSize(vcpus=1, memory_mib=512, disk_gib=2)
    plain = ImageManifest(recipe="bare", control_plane=size, worker=size, minimum=size)
    assert "boot" not in plain.model_dump_json()
    boot = Boot(firmware="uefi")
    own = plain.model_copy(update={"boot": boot})
    assert ImageManifest.model_validate_json(own.model_dump_json()).boot == boot
    assert ImageManifest.model_validate_json(plain.model_dump_json()).boot is None
