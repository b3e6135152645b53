"""Kernel limits that clusters share, on hosts that are folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dayfly.doctor.checks import Check, Host
from dayfly.doctor.kernel_limits import kernel_limits

REPO = Path(__file__).parents[3]
SOURCES = (REPO / "service", REPO / "provisioning")
FILES = {
    "proc/sys/fs/inotify/max_user_instances": "128",
    "proc/sys/fs/inotify/max_user_watches": "8192",
    "proc/sys/kernel/pid_max": "32768",
    "proc/sys/kernel/threads-max": "190000",
    "proc/loadavg": "1.00 1.00 1.00 2/768 4242",
    "proc/sys/net/ipv4/neigh/default/gc_thresh3": "1024",
    "proc/net/arp": "IP address  HW type\n10.0.0.1  0x1\n",
    "proc/sys/net/netfilter/nf_conntrack_max": "65536",
    "proc/sys/net/netfilter/nf_conntrack_count": "536",
    "proc/sys/user/max_net_namespaces": "96365",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        write(tmp_path, name, text)
    for port in ("veth1", "veth2", "veth3"):
        (tmp_path / "sys/class/net/docker0/brif" / port).mkdir(parents=True)
    (tmp_path / "sys/class/net/docker0/bridge").mkdir()
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(f"{text}\n")


def found(root: Path) -> dict[str, Check]:
    return {check.name: check for check in kernel_limits(Host(root=root))}


def test_each_limit_has_its_number_of_clusters(root: Path) -> None:
    assert {name: (check.status, check.found) for name, check in found(root).items()} == {
        "inotify instances": ("ok", "128 in all, whose use is not known: at most 32 clusters"),
        "inotify watches": ("ok", "8192 in all, whose use is not known: at most 1024 clusters"),
        "process ids": ("ok", "768 of 32768 used: room for 400 more clusters"),
        "neighbour table": ("ok", "1 of 1024 used: room for 127 more clusters"),
        "connection tracking": ("ok", "536 of 65536 used: room for 65 more clusters"),
        "bridge ports": ("ok", "3 of 1023 used: room for 510 more clusters"),
        "network namespaces": ("ok", "96365 in all, whose use is not known: at most 32121 clusters"),
        "loop devices": ("ok", "a cluster uses 0, a bake 0: disks are made without mounts"),
    }


@pytest.mark.parametrize(
    ("file", "text", "name", "status"),
    [
        ("proc/sys/fs/inotify/max_user_instances", "19", "inotify instances", "warn"),
        ("proc/sys/kernel/threads-max", "1000", "process ids", "warn"),
        ("proc/loadavg", "1.00 1.00 1.00 2/32767 4242", "process ids", "fail"),
        ("proc/sys/net/netfilter/nf_conntrack_count", "65000", "connection tracking", "fail"),
    ],
)
def test_too_little_room_says_how_to_raise_the_limit(root: Path, file: str, text: str, name: str, status: str) -> None:
    write(root, file, text)
    check = found(root)[name]
    assert check.status == status
    assert "sysctl -w" in check.advice


def test_a_limit_that_the_kernel_does_not_report_is_not_judged(root: Path) -> None:
    (root / "proc/sys/user/max_net_namespaces").unlink()
    assert "network namespaces" not in found(root)


def test_nothing_uses_a_loop_device() -> None:
    """Else the line that doctor prints about them is wrong."""
    used = re.compile(r"losetup|/dev/loop|mount\b.*\bloop\b")
    sources = [path for folder in SOURCES for path in folder.rglob("*") if path.suffix in {".py", ".sh", ".yml", ".j2"}]
    assert len(sources) > 100
    assert [str(path) for path in sources if used.search(path.read_text(encoding="utf-8"))] == []
