"""QEMU's command line: a list, from typed values. The most valuable pure function of the project.

The machine carries from the first day what templates will need: file-backed RAM, a fixed MAC, one overlay a node, QMP.
Not here: which container runs it (topology.py), or what the guest does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dayfly.domain.limits import Accelerator

RUN_DIR: Final = "/run/dayfly"
QMP_SOCKET: Final = f"{RUN_DIR}/qmp.sock"
CONSOLE_SOCKET: Final = f"{RUN_DIR}/console.sock"
AGENT_SOCKET: Final = f"{RUN_DIR}/agent.sock"
SEED_FILE: Final = f"{RUN_DIR}/seed.tar"
"""What the guest unpacks over its root before init runs: its keys and its name (fw_cfg `opt/dayfly/seed`)."""
CONSOLE_LOG: Final = "/var/log/dayfly/console.log"
"""Outlives the VM: it lies in the container's own layer."""
OVERLAY: Final = "/var/lib/dayfly/disk.qcow2"
RAM_DIR: Final = "/ram"


@dataclass(frozen=True)
class Machine:
    """One virtual machine. Memory in MiB; paths are inside the node's container."""

    name: str
    accelerator: Accelerator
    vcpus: int
    memory_mib: int
    kernel: str
    initrd: str
    kernel_arguments: tuple[str, ...]
    overlay: str
    tap: str
    mac: str


def command_line(machine: Machine) -> tuple[str, ...]:
    """QEMU's argv for `machine`, to be run in the foreground."""
    return (
        "qemu-system-x86_64",
        *("-name", machine.name),
        *("-no-user-config", "-nodefaults", "-no-reboot"),
        *("-display", "none"),
        *("-machine", "q35,usb=off,vmport=off,smm=off,memory-backend=ram0"),
        *_processor(machine),
        *_memory(machine),
        *_kernel(machine),
        *_disk(machine),
        *_network(machine),
        *("-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng0"),
        *_channels(),
        *("-fw_cfg", f"name=opt/dayfly/seed,file={SEED_FILE}"),
    )


def _processor(machine: Machine) -> tuple[str, ...]:
    if machine.accelerator == "kvm":
        accel, cpu = "kvm", "host"
    else:
        # One thread a vCPU; the larger buffer keeps Kubernetes' code translated instead of translating it again.
        accel, cpu = "tcg,thread=multi,tb-size=512", "max"
    return ("-accel", accel, "-cpu", cpu, "-smp", str(machine.vcpus))


def _memory(machine: Machine) -> tuple[str, ...]:
    path = f"{RAM_DIR}/{machine.name}.ram"
    size = f"{machine.memory_mib}M"
    return ("-m", size, "-object", f"memory-backend-file,id=ram0,size={size},mem-path={path},share=on")


def _kernel(machine: Machine) -> tuple[str, ...]:
    arguments = ["root=/dev/vda", "rw", "console=ttyS0", *machine.kernel_arguments]
    if machine.accelerator == "tcg":
        # Checks of hardware that an emulated machine has not got cost seconds of every boot.
        arguments += [
            "mitigations=off",
            "no_timer_check",
            "tsc=reliable",
            "nokaslr",
            "nowatchdog",
            "cryptomgr.notests",
        ]
    return ("-kernel", machine.kernel, "-initrd", machine.initrd, "-append", " ".join(arguments))


def _disk(machine: Machine) -> tuple[str, ...]:
    # -drive refuses a node-name equal to its id; templates need both, so -blockdev.
    # A cluster lives for a day: nothing is flushed to the host's disk on its account.
    cache = "cache.no-flush=on,discard=unmap"
    return (
        *("-blockdev", f"driver=file,node-name=f0,filename={machine.overlay},{cache}"),
        *("-blockdev", f"driver=qcow2,node-name=d0,file=f0,{cache}"),
        *("-device", "virtio-blk-pci,drive=d0,id=vda"),
    )


def _network(machine: Machine) -> tuple[str, ...]:
    # The tap exists and belongs to us before QEMU opens it: that is why the container needs no capability.
    return (
        *("-netdev", f"tap,id=n0,ifname={machine.tap},script=no,downscript=no,vhost=off"),
        *("-device", f"virtio-net-pci,netdev=n0,mac={machine.mac},id=eth0"),
    )


def _channels() -> tuple[str, ...]:
    def socket(name: str, path: str, extra: str = "") -> tuple[str, str]:
        return ("-chardev", f"socket,id={name},path={path},server=on,wait=off{extra}")

    return (
        *socket("console", CONSOLE_SOCKET, f",logfile={CONSOLE_LOG},logappend=on"),
        *("-serial", "chardev:console"),
        *("-device", "virtio-serial-pci,id=vs0"),
        *socket("agent", AGENT_SOCKET),
        *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        *socket("qmp", QMP_SOCKET),
        *("-mon", "chardev=qmp,mode=control"),
    )
