"""The last script of a bake on a cloud image leaves no key, no identity and no log; run on a folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dayfly import assets

SCRIPT = assets.provisioning() / "cloud" / "clean"
GONE = (
    "var/lib/cloud/instance/user-data.txt",
    "etc/netplan/50-cloud-init.yaml",
    "etc/NetworkManager/system-connections/cloud-init-eth0.nmconnection",
    "etc/sysconfig/network-scripts/ifcfg-eth0",
    "etc/ssh/ssh_host_ed25519_key",
    "etc/ssh/ssh_host_rsa_key.pub",
    "etc/ssh/sshd_config.d/50-cloud-init.conf",
    "etc/sudoers.d/90-cloud-init-users",
    "etc/hostname",
    "root/.ssh/authorized_keys",
    "home/debian/.ssh/authorized_keys",
    "root/.bash_history",
    "root/.ansible/tmp/x",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/dhcp/dhclient.leases",
    "var/lib/NetworkManager/internal-eth0.lease",
    "var/lib/apt/lists/deb_Packages",
    "var/cache/apt/archives/x.deb",
    "var/cache/dnf/x.solv",
    "var/cache/libdnf5/x/repodata",
    "var/cache/zypp/raw/x",
    "var/log/journal/abc/system.journal",
    "var/log/cloud-init-output.log",
    "var/log/dpkg.log.1",
    "var/log/syslog.2.gz",
    "tmp/.hidden",
    "tmp/file",
    "var/tmp/x/y",
)
EMPTY = ("etc/machine-id", "etc/cloud/cloud-init.disabled", "var/log/wtmp", "var/log/apt/history.log")
KEPT = (
    "etc/passwd",
    "etc/ssh/sshd_config",
    "etc/cloud/cloud.cfg",
    "usr/bin/cloud-init",
    "home/debian/file",
    "var/lib/dpkg/status",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in (*GONE, *(one for one in EMPTY if "disabled" not in one), *KEPT):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("the bake's")
    return tmp_path


def clean(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("ending", ["", "/"])
def test_nothing_of_the_bake_is_left(root: Path, ending: str) -> None:
    done = clean(f"{root}{ending}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path for path in GONE if (root / path).exists()] == []
    assert {path: (root / path).read_text() for path in EMPTY} == dict.fromkeys(EMPTY, "")
    assert {path: (root / path).read_text() for path in KEPT} == dict.fromkeys(KEPT, "the bake's")
    assert (root / "tmp").is_dir()


def test_it_may_be_run_again_and_on_an_empty_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for _ in range(2):
        assert clean(tmp_path).returncode == 0
    assert (tmp_path / "etc/machine-id").read_text() == ""


def test_it_needs_the_root_to_be_named() -> None:
    done = clean()
    assert done.returncode != 0
    assert "the root folder is missing" in done.stderr
