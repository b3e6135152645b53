"""QEMU's command line: a list of arguments, computed from typed values.

A machine boots, or starts from a snapshot. Then everything but the source of its memory must equal that of the saved
machine: devices, their order, the kernel. A change here that old snapshots do not survive raises template.FORMAT.
Not here: the machine's container (topology.py), and the guest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.domain.image import Boot

RUN_DIR: Final = "/run/dayfly"
QMP_SOCKET: Final = f"{RUN_DIR}/qmp.sock"
CONSOLE_SOCKET: Final = f"{RUN_DIR}/console.sock"
AGENT_SOCKET: Final = f"{RUN_DIR}/agent.sock"
SEED_FILE: Final = f"{RUN_DIR}/seed.tar"
"""The guest's keys and name, which the guest unpacks over its root before init runs (fw_cfg `opt/dayfly/seed`)."""
CONSOLE_LOG: Final = "/var/log/dayfly/console.log"
"""In the container's own layer, so that it outlives the VM."""
OVERLAY: Final = "/var/lib/dayfly/disk.qcow2"
VARIABLES: Final = "/var/lib/dayfly/variables.fd"
"""A UEFI machine's own variables: a copy of those in the image."""
RAM_DIR: Final = "/ram"
START_FILE: Final = f"{RUN_DIR}/start"
"""The machine's disk and command line (start_file), written before each start of its container."""
START_VARIABLE: Final = "DAYFLY_START"
"""The same, in the environment of a container that has no such file."""

RAM: Final = "ram"
STATE: Final = "state"
DISK: Final = "disk.qcow2"
"""The files of a machine's snapshot folder: a template's RAM; the state of devices, with other RAM; the overlay, unless
the machine keeps its disk."""


def state_name(accelerator: Accelerator, processor: str) -> str:
    """The file of a machine's saved state. On KVM its name contains the host's `processor`, which the machine sees.

    A load uses the name for this host, and so never loads another host's state: QEMU guarantees nothing for `-cpu host`
    where CPU, microcode or kernel differ, and may load the state all the same.
    """
    return f"{STATE}-kvm-{processor}" if accelerator == "kvm" else STATE


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
    tap: str
    mac: str
    boot: Boot | None = None
    """None: `kernel` and `initrd`, and a disk that is one file system."""


@dataclass(frozen=True)
class Start:
    """One way to start a machine: the preparation of its overlay, and QEMU's command line.

    `disk`: `keep` the overlay, or create a blank one over the image's disk where there is none; `over PATH`: a new
    overlay whose backing file is PATH; `copy PATH`: a copy of PATH.
    """

    disk: str
    command: tuple[str, ...]


def boot(machine: Machine) -> Start:
    return Start("keep", _command_line(machine, _own_memory(machine), seed=f"file={SEED_FILE}"))


def fork(machine: Machine, folder: str) -> Start:
    """Start from a template's `folder`, whose RAM is mapped copy-on-write: unwritten pages stay shared.

    Here as in restore() the machine waits for migrate-incoming and is paused afterwards. Neither needs a seed: the
    guest has booted before.
    """
    size = f"{machine.memory_mib}M"
    private = f"memory-backend-file,id=ram0,size={size},mem-path={folder}/{RAM},share=off,readonly=on,rom=off"
    return Start(f"over {folder}/{DISK}", _incoming(machine, ("-m", size, "-object", private)))


def restore(machine: Machine, folder: str, *, keep_disk: bool) -> Start:
    """Start from a checkpoint's `folder`, or, with `keep_disk`, from a hibernation's."""
    return Start("keep" if keep_disk else f"copy {folder}/{DISK}", _incoming(machine, _own_memory(machine)))


def start_file(start: Start) -> bytes:
    """The input of /usr/lib/dayfly/node: the disk, then the command, one argument a line."""
    return "".join(f"{line}\n" for line in (start.disk, *start.command)).encode()


def start_environment(start: Start) -> Mapping[str, str]:
    """The content of start_file() as a container's environment."""
    return {START_VARIABLE: "\n".join((start.disk, *start.command))}


def _incoming(machine: Machine, memory: tuple[str, ...]) -> tuple[str, ...]:
    return (*_command_line(machine, memory, seed="string=none"), "-S", "-incoming", "defer")


def _command_line(machine: Machine, memory: tuple[str, ...], *, seed: str) -> tuple[str, ...]:
    return (
        *_own_variables(machine),
        "qemu-system-x86_64",
        *("-name", machine.name),
        *("-no-user-config", "-nodefaults", "-no-reboot"),
        *("-display", "none"),
        *("-machine", f"q35,usb=off,vmport=off,smm=off,memory-backend=ram0{_flash(machine)}"),
        *_processor(machine),
        *memory,
        *_loader(machine),
        *_disk(machine),
        *_network(machine),
        *("-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng0"),
        # A new GUID with each start makes the kernel of a fork reseed its random numbers.
        *("-device", "vmgenid,guid=auto"),
        *_channels(),
        *("-fw_cfg", f"name=opt/dayfly/seed,{seed}"),
    )


def _processor(machine: Machine) -> tuple[str, ...]:
    if machine.accelerator == "kvm":
        accel, cpu = "kvm", "host"
    else:
        # One thread per vCPU. The larger buffer keeps all of Kubernetes' code translated.
        accel, cpu = "tcg,thread=multi,tb-size=512", "max"
    return ("-accel", accel, "-cpu", cpu, "-smp", str(machine.vcpus))


def _own_memory(machine: Machine) -> tuple[str, ...]:
    path = f"{RAM_DIR}/{machine.name}.ram"
    size = f"{machine.memory_mib}M"
    return ("-m", size, "-object", f"memory-backend-file,id=ram0,size={size},mem-path={path},share=on")


def _is_uefi(machine: Machine) -> bool:
    return machine.boot is not None and machine.boot.firmware == "uefi"


def _own_variables(machine: Machine) -> tuple[str, ...]:
    """A prefix that copies the image's variables for this machine, unless it has its own, and executes QEMU.

    A saved machine's variables are in its state: a load writes them over those of the file.
    """
    if machine.boot is None or not _is_uefi(machine):
        return ()
    # Rename the complete copy: a container killed here leaves no partial file.
    copy = 'test -e "$1" || { cp "$0" "$1.new" && mv "$1.new" "$1"; } || exit; shift; exec "$@"'
    return ("/bin/sh", "-c", copy, machine.boot.variables, VARIABLES)


def _flash(machine: Machine) -> str:
    return ",pflash0=code,pflash1=variables" if _is_uefi(machine) else ""


def _loader(machine: Machine) -> tuple[str, ...]:
    """The first program that the machine runs: a kernel, UEFI, or QEMU's own BIOS, which needs no argument."""
    if machine.boot is None or machine.boot.firmware == "direct":
        return _kernel(machine, "/dev/vda" if machine.boot is None else machine.boot.root)
    if machine.boot.firmware == "bios":
        return ()
    return (
        *("-blockdev", f"driver=file,node-name=code,filename={machine.boot.code},read-only=on"),
        *("-blockdev", f"driver=file,node-name=variables,filename={VARIABLES}"),
    )


def _kernel(machine: Machine, root: str) -> tuple[str, ...]:
    arguments = [f"root={root}", "rw", "console=ttyS0", *machine.kernel_arguments]
    if machine.accelerator == "tcg":
        # Without these, checks for real hardware cost seconds of every emulated boot.
        arguments += [
            "mitigations=off",
            "no_timer_check",
            "tsc=reliable",
            "nokaslr",
            "nowatchdog",
            "cryptomgr.notests",
            # Timers fire at ticks (250 a second). With a resolution of nanoseconds, a quarter of all emulated time goes
            # into the timer's registers: each access needs the lock that all of a machine's threads share.
            "highres=off",
        ]
    return ("-kernel", machine.kernel, "-initrd", machine.initrd, "-append", " ".join(arguments))


def _disk(machine: Machine) -> tuple[str, ...]:
    # -drive refuses a node-name equal to its id; templates need both, so -blockdev.
    # Clusters are ephemeral: writes are not flushed to the host's disk.
    cache = "cache.no-flush=on,discard=unmap"
    # The firmware tries this disk before the network.
    first = "" if machine.boot is None or machine.boot.firmware == "direct" else ",bootindex=1"
    return (
        *("-blockdev", f"driver=file,node-name=f0,filename={OVERLAY},{cache}"),
        *("-blockdev", f"driver=qcow2,node-name=d0,file=f0,{cache}"),
        *("-device", f"virtio-blk-pci,drive=d0,id=vda{first}"),
    )


def _network(machine: Machine) -> tuple[str, ...]:
    # The tap exists, with the right owner, before QEMU opens it: so the container needs no capability.
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
