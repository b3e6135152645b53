"""The scripts before and after the play of a bake on a cloud image, run on a folder as the guest's root.

Not here: the last script (test_clean.py), and real guests (tests/integration/test_cloud_bake.py).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from dayfly import assets
from dayfly.images.cloud.provision import node_files

CLOUD = assets.provisioning() / "cloud"
FSTAB = "PARTUUID=1 / ext4 rw 0 1\n"
NETWORKD = "usr/lib/systemd/system/systemd-networkd.service"
NETWORK_MANAGER = "usr/lib/systemd/system/NetworkManager.service"


class Guest:
    """A root folder with the files of a node; `systemctl` is a program that notes its arguments."""

    def __init__(self, folder: Path) -> None:
        self.root, self.programs, self.calls = folder / "root", folder / "programs", folder / "calls"
        self.programs.mkdir()
        self.program("systemctl", f'printf "%s\\n" "$*" >> {self.calls}')
        self.write("etc/fstab", FSTAB)
        self.write("etc/shadow", "root:!unset:19000:0:99999:7:::\ndaemon:*:19000::::::\ndebian:!:19000::::::\n")
        for file in node_files(CLOUD / "files"):
            self.write(file.path.lstrip("/"), file.content.decode())

    def write(self, path: str, text: str = "") -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def run(self, script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PATH": f"{self.programs}:{os.environ['PATH']}"}
        argv = ["sh", CLOUD / script, *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)

    def becomes_a_node(self, *arguments: str) -> None:
        for script, more in (("start", arguments), ("node", ())):
            done = self.run(script, self.root, *more)
            assert (done.returncode, done.stderr) == (0, "")

    def systemctl(self) -> list[str]:
        text = self.calls.read_text() if self.calls.exists() else ""
        return [line.removeprefix(f"--root={self.root} ") for line in text.splitlines()]


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def test_the_images_own_file_systems_are_mounted_again(guest: Guest) -> None:
    guest.write(NETWORKD)
    assert guest.run("start", guest.root).returncode == 0
    guest.write("etc/fstab", "# the role's\n")
    assert guest.run("node", guest.root).returncode == 0
    assert (guest.root / "etc/fstab").read_text() == FSTAB
    assert not (guest.root / "etc/fstab.dayfly").exists()


def test_the_images_sources_are_away_while_the_bake_brings_its_own(guest: Guest) -> None:
    guest.write(NETWORKD)
    guest.write("etc/apt/sources.list", "deb upstream\n")
    guest.write("etc/apt/sources.list.d/debian.sources", "Types: deb\n")
    assert guest.run("start", guest.root, "mirrored").returncode == 0
    assert [path.name for path in (guest.root / "etc/apt").iterdir() if path.name.startswith("sources")] == [
        "sources.list.d"
    ]
    guest.write("etc/apt/sources.list.d/dayfly.list", "deb mirror\n")
    assert guest.run("node", guest.root).returncode == 0
    apt = guest.root / "etc/apt"
    found = {str(path.relative_to(apt)): path.read_text() for path in apt.rglob("*") if path.is_file()}
    assert found == {"sources.list": "deb upstream\n", "sources.list.d/debian.sources": "Types: deb\n"}


def test_without_mirrors_the_images_sources_stay(guest: Guest) -> None:
    guest.write(NETWORKD)
    guest.write("etc/apt/sources.list", "deb upstream\n")
    guest.becomes_a_node()
    assert (guest.root / "etc/apt/sources.list").read_text() == "deb upstream\n"
    assert not (guest.root / "etc/apt/dayfly-own").exists()


def test_root_has_no_password_and_may_log_in_by_key(guest: Guest) -> None:
    guest.write(NETWORKD)
    guest.becomes_a_node()
    lines = (guest.root / "etc/shadow").read_text().splitlines()
    assert [line.split(":")[1] for line in lines] == ["*", "*", "!"]


@pytest.mark.parametrize(
    ("units", "enabled", "kept"),
    [
        ([NETWORKD], "systemd-networkd.service", "etc/systemd/network/10-dayfly.network"),
        ([NETWORKD, NETWORK_MANAGER], "NetworkManager.service", "etc/NetworkManager/conf.d/10-dayfly.conf"),
    ],
)
def test_the_images_own_network_manager_is_used(guest: Guest, units: list[str], enabled: str, kept: str) -> None:
    for unit in units:
        guest.write(unit)
    guest.becomes_a_node()
    calls = guest.systemctl()
    assert f"enable {enabled}" in calls
    assert "enable dayfly-seed.service dayfly-grow-root.service" in calls
    networks = ("etc/systemd/network/10-dayfly.network", "etc/NetworkManager/conf.d/10-dayfly.conf")
    assert [path for path in networks if (guest.root / path).exists()] == [kept]


def test_an_image_without_a_network_manager_is_refused(guest: Guest) -> None:
    assert guest.run("start", guest.root).returncode == 0
    done = guest.run("node", guest.root)
    assert (done.returncode, done.stderr) == (1, "the image has neither NetworkManager nor systemd-networkd\n")


@pytest.mark.parametrize(("is_alias", "masked"), [(False, True), (True, False)])
def test_a_second_unit_of_sshd_is_masked(guest: Guest, is_alias: bool, masked: bool) -> None:
    guest.write(NETWORKD)
    unit = guest.root / "usr/lib/systemd/system/sshd.service"
    if is_alias:
        unit.symlink_to("ssh.service")
    else:
        unit.write_text("[Unit]\n")
    guest.becomes_a_node()
    assert ("mask sshd.service" in guest.systemctl()) == masked


def test_private_files_of_the_network_manager_are_private() -> None:
    modes = {file.path: file.mode for file in node_files(CLOUD / "files")}
    assert modes["/etc/NetworkManager/system-connections/dayfly.nmconnection"] == 0o600
    assert modes["/usr/lib/dayfly/grow-root"] == 0o755
    assert modes["/etc/systemd/system/dayfly-seed.service"] == 0o644


def test_a_machine_without_a_seed_says_so(guest: Guest) -> None:
    guest.program("modprobe", "exit 1")
    done = guest.run("files/usr/lib/dayfly/seed")
    assert (done.returncode, done.stderr) == (1, "this machine has no seed\n")


@pytest.mark.parametrize("script", ["start", "node"])
def test_the_root_must_be_named(guest: Guest, script: str) -> None:
    done = guest.run(script)
    assert done.returncode != 0
    assert "the root folder is missing" in done.stderr
