"""Keeps an emulated guest's kernel from changing its own code each time that a container starts or ends.

QEMU 10 without KVM drops its translation of code before a guest's write to that code is done. Another processor may
translate the old code in between, here the breakpoint of a change that is under way, and then executes this
translation for ever: the guest hangs, all processors busy (seen after 100 conformance tests). Linux changes code where
a switch is turned (a static key), and two switches turn with containers: `freezer_active` is on while any control
group (version 1) is frozen, as runc freezes containers, and `__cfs_bandwidth_used` while any has a quota of processor
time. A frozen group without processes and a quota on it keep both switches on.
"""

from __future__ import annotations

from typing import Final

from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.domain.image import ImageManifest
from dayfly.drivers.interfaces import File

_VERSION_1: Final = "systemd.unified_cgroup_hierarchy=0"
_GROUPS: Final = """\
d /sys/fs/cgroup/freezer/dayfly
w /sys/fs/cgroup/freezer/dayfly/freezer.state - - - - FROZEN
d /sys/fs/cgroup/cpu,cpuacct/dayfly
w /sys/fs/cgroup/cpu,cpuacct/dayfly/cpu.cfs_quota_us - - - - 100000
"""
"""For systemd-tmpfiles, at each boot."""


def files_against_patching(manifest: ImageManifest, accelerator: Accelerator) -> tuple[File, ...]:
    """The files for the seed; none where nothing is emulated, or the image has control groups of version 2."""
    if accelerator == "kvm" or _VERSION_1 not in manifest.kernel_arguments:
        return ()
    return (File("/etc/tmpfiles.d/dayfly-patched-code.conf", _GROUPS.encode(), 0o644),)
