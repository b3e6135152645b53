"""The checks of a host: each is a pure function from facts to a Check.

Not here: the queries to engine, database and accelerator (examine.py).
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
_REFUSES_OTHER_HOSTS: Final = 28
"""The first major version of Docker that drops packets of other hosts to ports that are published on 127.0.0.1."""
MEMORY_NEEDED, MEMORY_WANTED = 2 * GIB, 5 * GIB
"""One small node; a control plane, a worker, and the host itself."""


@dataclass(frozen=True)
class Check:
    """The result of one check: `found` is a fact; `advice` is an action, empty where none is needed."""

    name: str
    status: Status
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Host:
    """The facts of this machine. `root` is the root of its file system; sizes in bytes."""

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
        """`absolute` itself or its nearest parent that exists, as far as this user can see."""
        path = self.path(absolute)
        # Not Path.exists(), which raises PermissionError below a folder of another user.
        return next(candidate for candidate in (path, *path.parents) if os.path.exists(candidate))  # noqa: PTH110


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
    """Both versions work: guests boot with the version of their image, whatever the host has."""
    return Check("cgroups", "ok", f"version {info.cgroup_version}, {info.cgroup_driver} driver")


def neighbours(info: EngineInfo) -> Check:
    """What the engine's network lets through. Never a fault: each cluster has a filter of its own."""
    major = info.version.partition(".")[0]
    refuses = info.name == "Docker" and major.isdecimal() and int(major) >= _REFUSES_OTHER_HOSTS
    others = "refuses packets of other hosts to containers" if refuses else "lets other hosts route to containers"
    found = f"{info.name} {info.version} connects containers to each other, and {others}"
    return Check("neighbours", "ok", f"{found}; the filter of each cluster refuses both")


def tun(host: Host) -> Check:
    if host.path("/dev/net/tun").exists():
        return Check("tun", "ok", "/dev/net/tun")
    return Check("tun", "fail", "there is no /dev/net/tun: nodes would have no network", "modprobe tun")


def cores(cores: int) -> Check:
    if cores >= 2:
        return Check("cores", "ok", str(cores))
    return Check("cores", "warn", str(cores), "Kubernetes needs two; `bare` clusters work")


def memory(host: Host, info: EngineInfo | None) -> Check:
    """The host's available memory where that is known, else all memory of the engine's host."""
    available = _meminfo(host, "MemAvailable")
    found = f"{_gib(available or 0)} available"
    if available is None and info is not None:
        available = info.memory_bytes
        found = f"{_gib(available)} in all; how much of it is free is not known"
    if available is None:
        return Check("memory", "warn", "neither the host nor the engine reports it", "make sure that 5 GiB are free")
    if available < MEMORY_NEEDED:
        return Check("memory", "fail", found, "too little for one small node: free some memory")
    if available < MEMORY_WANTED:
        return Check("memory", "warn", found, f"a Kubernetes cluster of two nodes needs {_gib(MEMORY_WANTED)}")
    return Check("memory", "ok", found)


def forwarding(host: Host, info: EngineInfo | None) -> Check:
    value = host.read("/proc/sys/net/ipv4/ip_forward")
    if value == "1" or (value is None and info is not None and info.ipv4_forwarding):
        return Check("forwarding", "ok", "IPv4 forwarding is on")
    if value is None and info is None:
        found = "neither the host nor the engine reports whether IPv4 forwarding is on"
        return Check("forwarding", "warn", found, "repair the engine first")
    return Check(
        "forwarding", "fail", "IPv4 forwarding is off: published ports do not work", "sysctl -w net.ipv4.ip_forward=1"
    )


def kernel_network(host: Host) -> Check:
    """The kernel's bridges and address translation, which every cluster's network namespace needs."""
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
    measured = host.existing(root)
    free = host.disk_free(measured)
    found = f"{_gib(free)} free at {root}"
    if info is not None and measured != host.path(root):
        found = f"the free space at {root} is not known: this user does not see that folder on this machine"
        return Check("engine disk", "warn", found, f"make sure that {_gib(ENGINE_DISK_WANTED)} are free there")
    if free < ENGINE_DISK_NEEDED:
        return Check("engine disk", "fail", found, "free some space (docker system df shows its use)")
    if free < ENGINE_DISK_WANTED:
        return Check("engine disk", "warn", found, f"images and nodes' disks soon need {_gib(ENGINE_DISK_WANTED)}")
    return Check("engine disk", "ok", found)


def cache_disk(host: Host, cache_dir: Path) -> Check:
    free = host.disk_free(host.existing(cache_dir))
    found = f"{_gib(free)} free at {cache_dir}"
    if free < CACHE_DISK_WANTED:
        advice = f"a first bake of Kubernetes needs up to {_gib(CACHE_DISK_WANTED)}; DAYFLY_CACHE_DIR moves the cache"
        return Check("cache disk", "warn", found, advice)
    return Check("cache disk", "ok", found)


def writable(name: str, host: Host, folder: Path) -> Check:
    if os.access(host.existing(folder), os.W_OK | os.X_OK):
        return Check(name, "ok", str(folder))
    return Check(name, "fail", f"{folder} cannot be written", "set DAYFLY_STATE_DIR, or correct the folder's owner")


def access(loopback_is_operator: bool) -> Check:
    """Who may do what: a warning where more callers than tokens' holders may do everything."""
    if loopback_is_operator:
        found = "tokens, but every user and program of this host is an operator (DAYFLY_LOOPBACK_IS_OPERATOR)"
        return Check("authentication", "warn", found, "unset it, and use tokens or DAYFLY_LISTEN_SOCKET")
    return Check("authentication", "ok", "every request needs a token, or the peer of DAYFLY_LISTEN_SOCKET")


def bake_tools(host: Host) -> Check:
    """A bake's requirements of this host; packages.py checks the sources of its packages."""
    lacking = missing(which=host.which, has_module=host.has_module, user_id=host.user_id(), root=host.root)
    if not lacking:
        return Check("bake tools", "ok", "programs, Debian's keyring, root")
    found = f"missing: {', '.join(one.what for one in lacking)}; images are baked in a container of the engine"
    return Check("bake tools", "warn", found, f"to bake on this host: {'; '.join(one.advice for one in lacking)}")


def total_memory(host: Host) -> int | None:
    """The machine's memory in bytes; None where its kernel does not report it."""
    return _meminfo(host, "MemTotal")


def _meminfo(host: Host, field: str) -> int | None:
    for line in (host.read("/proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
