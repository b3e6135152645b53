"""What a host must have, check by check: each is a pure function from facts to a Check.

Not here: how the facts of an engine, a database or an accelerator are asked for (examine.py).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from dayfly.drivers.interfaces import EngineInfo
from dayfly.images.host import missing

Status = Literal["ok", "warn", "fail"]

GIB: Final = 2**30

ENGINE_DISK_NEEDED, ENGINE_DISK_WANTED = 2 * GIB, 10 * GIB
CACHE_DISK_WANTED: Final = 15 * GIB
"""A first bake of Kubernetes: its source, its build, the root file systems."""
MEMORY_NEEDED, MEMORY_WANTED = 2 * GIB, 5 * GIB
"""One small node; a control plane, a worker, and the host itself."""


@dataclass(frozen=True)
class Check:
    """One answer: `found` says what is there; `advice` what to do, empty where all is well."""

    name: str
    status: Status
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Host:
    """The facts of this machine. `root` is where its file system begins; sizes in bytes."""

    root: Path = Path("/")
    which: Callable[[str], str | None] = shutil.which
    disk_free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
    cores: Callable[[], int] = lambda: len(os.sched_getaffinity(0))
    user_id: Callable[[], int] = os.geteuid
    has_module: Callable[[str], bool] = lambda name: importlib.util.find_spec(name) is not None

    def path(self, absolute: str | Path) -> Path:
        return self.root / str(absolute).lstrip("/")

    def read(self, absolute: str) -> str | None:
        """A small file's text, stripped; None when it cannot be read."""
        try:
            return self.path(absolute).read_text().strip()
        except OSError:
            return None

    def existing(self, absolute: Path) -> Path:
        """`absolute` itself or its nearest parent that exists."""
        path = self.path(absolute)
        return next(candidate for candidate in (path, *path.parents) if candidate.exists())


def storage_driver(info: EngineInfo) -> Check:
    if info.storage_driver == "vfs":
        return Check(
            "storage driver",
            "warn",
            "vfs copies a whole image for every container",
            "put the engine's data on a file system that overlay2 works on (ext4, xfs)",
        )
    return Check("storage driver", "ok", info.storage_driver)


def cgroups(info: EngineInfo) -> Check:
    """Both versions work: guests boot with the one their image wants, whatever the host has."""
    return Check("cgroups", "ok", f"version {info.cgroup_version}, {info.cgroup_driver} driver")


def tun(host: Host) -> Check:
    if host.path("/dev/net/tun").exists():
        return Check("tun", "ok", "/dev/net/tun")
    return Check("tun", "fail", "there is no /dev/net/tun: nodes would have no network", "modprobe tun")


def cores(cores: int) -> Check:
    if cores >= 2:
        return Check("cores", "ok", str(cores))
    return Check("cores", "warn", str(cores), "Kubernetes wants two; `bare` clusters work")


def memory(host: Host, info: EngineInfo | None) -> Check:
    """Free memory where the host tells it, else all that the engine's host has."""
    available = _meminfo(host, "MemAvailable")
    if available is None and info is not None:
        available = info.memory_bytes
    if available is None:
        return Check("memory", "warn", "neither the host nor the engine tells", "see that 5 GiB are free")
    found = f"{_gib(available)} available"
    if available < MEMORY_NEEDED:
        return Check("memory", "fail", found, "not even one small node fits: free some")
    if available < MEMORY_WANTED:
        return Check("memory", "warn", found, f"a Kubernetes cluster of two nodes wants {_gib(MEMORY_WANTED)}")
    return Check("memory", "ok", found)


def forwarding(host: Host, info: EngineInfo | None) -> Check:
    value = host.read("/proc/sys/net/ipv4/ip_forward")
    if value == "1" or (value is None and info is not None and info.ipv4_forwarding):
        return Check("forwarding", "ok", "IPv4 forwarding is on")
    return Check(
        "forwarding", "fail", "IPv4 forwarding is off: published ports lead nowhere", "sysctl -w net.ipv4.ip_forward=1"
    )


def kernel_network(host: Host) -> Check:
    """Bridges and address translation, which every cluster's own namespace needs of the kernel."""
    bridged = any(host.path("/sys/class/net").glob("*/bridge")) or host.path("/sys/module/bridge").exists()
    tracked = host.path("/proc/sys/net/netfilter/nf_conntrack_max").exists()
    missing = [name for name, there in (("bridge", bridged), ("nf_conntrack", tracked)) if not there]
    if not missing:
        return Check("kernel network", "ok", "bridge, nf_conntrack")
    return Check(
        "kernel network", "warn", f"not loaded: {', '.join(missing)}", f"modprobe -a {' '.join(missing)} iptable_nat"
    )


def engine_disk(host: Host, info: EngineInfo | None) -> Check:
    root = Path(info.root) if info is not None else Path("/var/lib/docker")
    free = host.disk_free(host.existing(root))
    found = f"{_gib(free)} free at {root}"
    if free < ENGINE_DISK_NEEDED:
        return Check("engine disk", "fail", found, "free some (docker system df shows what is there)")
    if free < ENGINE_DISK_WANTED:
        return Check("engine disk", "warn", found, f"images and nodes' disks soon take {_gib(ENGINE_DISK_WANTED)}")
    return Check("engine disk", "ok", found)


def cache_disk(host: Host, cache_dir: Path) -> Check:
    free = host.disk_free(host.existing(cache_dir))
    found = f"{_gib(free)} free at {cache_dir}"
    if free < CACHE_DISK_WANTED:
        advice = f"a first bake of Kubernetes takes up to {_gib(CACHE_DISK_WANTED)}; DAYFLY_CACHE_DIR moves it"
        return Check("cache disk", "warn", found, advice)
    return Check("cache disk", "ok", found)


def writable(name: str, host: Host, folder: Path) -> Check:
    if os.access(host.existing(folder), os.W_OK | os.X_OK):
        return Check(name, "ok", str(folder))
    return Check(name, "fail", f"{folder} cannot be written", "set DAYFLY_STATE_DIR, or mend its owner")


def bake_tools(host: Host) -> Check:
    """What a bake needs of this host itself; where its packages come from is asked by packages.py."""
    lacking = missing(which=host.which, has_module=host.has_module, user_id=host.user_id(), root=host.root)
    if not lacking:
        return Check("bake tools", "ok", "programs, Debian's keyring, root")
    found = f"missing: {', '.join(one.what for one in lacking)}"
    return Check("bake tools", "warn", found, f"to bake images: {'; '.join(one.advice for one in lacking)}")


def total_memory(host: Host) -> int | None:
    """All that the machine has, in bytes; None where its kernel does not tell."""
    return _meminfo(host, "MemTotal")


def _meminfo(host: Host, field: str) -> int | None:
    for line in (host.read("/proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
