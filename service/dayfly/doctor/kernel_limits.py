"""Checks of the kernel's limits that all clusters of a host share: how many more clusters does each allow?

Not here: processors, memory and disk, which admission counts (domain/scheduling/resources.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dayfly.doctor.checks import Check, Host

WANTED_CLUSTERS: Final = 20
_BRIDGE_PORTS: Final = 1023
"""BR_MAX_PORTS of Linux, less the port numbered 0."""


@dataclass(frozen=True)
class Limit:
    """One limit. `per_cluster`: the use of a cluster of two nodes, rounded up; `advice`: how to raise the limit."""

    name: str
    limit: Callable[[Host], int | None]
    per_cluster: int
    advice: str
    used: Callable[[Host], int] | None = None

    def check(self, host: Host) -> Check | None:
        """None: this kernel does not report the limit."""
        limit = self.limit(host)
        if limit is None:
            return None
        used = 0 if self.used is None else self.used(host)
        clusters = max(0, limit - used) // self.per_cluster
        found = f"{used} of {limit} used: room for {clusters} more clusters"
        if self.used is None:
            found = f"{limit} in all, whose use is not known: at most {clusters} clusters"
        if clusters >= WANTED_CLUSTERS:
            return Check(self.name, "ok", found)
        return Check(self.name, "warn" if clusters else "fail", found, self.advice)


def kernel_limits(host: Host) -> list[Check]:
    """A check for each limit that this kernel reports, and the answer about loop devices, which others need."""
    return [*(check for limit in _LIMITS if (check := limit.check(host)) is not None), _LOOP_DEVICES]


_LOOP_DEVICES: Final = Check("loop devices", "ok", "a cluster uses 0, a bake 0: disks are made without mounts")
"""images/disk.py makes file systems from tar archives; a machine's disk is a file that QEMU opens."""


def _sysctl(name: str) -> Callable[[Host], int | None]:
    path = f"/proc/sys/{name.replace('.', '/')}"

    def read(host: Host) -> int | None:
        text = host.read(path) or ""
        return int(text) if text.isdigit() else None

    return read


def _tasks(host: Host) -> int | None:
    """Every task has a pid: the smaller limit counts."""
    limits = [_sysctl(name)(host) for name in ("kernel.pid_max", "kernel.threads-max")]
    return min((limit for limit in limits if limit is not None), default=None)


def _tasks_used(host: Host) -> int:
    """From the fourth field of /proc/loadavg, `running/all`."""
    fields = (host.read("/proc/loadavg") or "").split()
    return int(fields[3].partition("/")[2]) if len(fields) > 3 else 0


def _tracked(host: Host) -> int:
    return _sysctl("net.netfilter.nf_conntrack_count")(host) or 0


def _neighbours(host: Host) -> int:
    """/proc/net/arp has one line of headings."""
    return max(0, len((host.read("/proc/net/arp") or "").splitlines()) - 1)


def _fullest_bridge(host: Host) -> int:
    folders = host.path("/sys/class/net").glob("*/brif")
    return max((sum(1 for _ in folder.iterdir()) for folder in folders), default=0)


def _bridge_ports(host: Host) -> int | None:
    return _BRIDGE_PORTS if any(host.path("/sys/class/net").glob("*/bridge")) else None


_LIMITS: Final = (
    Limit(
        "inotify instances",
        _sysctl("fs.inotify.max_user_instances"),
        # containerd's shim takes one for each container where the host has cgroups of version 2.
        4,
        "sysctl -w fs.inotify.max_user_instances=1024",
    ),
    Limit("inotify watches", _sysctl("fs.inotify.max_user_watches"), 8, "sysctl -w fs.inotify.max_user_watches=65536"),
    Limit("process ids", _tasks, 80, "sysctl -w kernel.pid_max=131072 kernel.threads-max=131072", used=_tasks_used),
    Limit(
        "neighbour table",
        _sysctl("net.ipv4.neigh.default.gc_thresh3"),
        8,
        "sysctl -w net.ipv4.neigh.default.gc_thresh3=8192",
        used=_neighbours,
    ),
    Limit(
        "connection tracking",
        _sysctl("net.netfilter.nf_conntrack_max"),
        1000,
        "sysctl -w net.netfilter.nf_conntrack_max=262144",
        used=_tracked,
    ),
    Limit("bridge ports", _bridge_ports, 2, "remove containers: a bridge has at most 1023 ports", used=_fullest_bridge),
    Limit("network namespaces", _sysctl("user.max_net_namespaces"), 3, "sysctl -w user.max_net_namespaces=65536"),
)
