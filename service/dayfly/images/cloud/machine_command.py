"""QEMU's command line for the machine of a bake on a cloud image: pure. Not here: nodes' (qemu_cmdline.py).

The machine is not a node: it has a network of QEMU's own, which forwards one port to its SSH, and a second disk with
cloud-init's seed. It needs no tap and no capability.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dayfly.domain.cluster.qemu_cmdline import CONSOLE_LOG, RUN_DIR
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.domain.image import Firmware
from dayfly.images.cloud.disk import DISK

FOLDER: Final = "/dayfly"
DISK_PATH: Final = f"{FOLDER}/{DISK}"
"""Beside the image that it is an overlay of."""
SEED_PATH: Final = f"{RUN_DIR}/cidata.img"
KERNEL, INITRD = f"{FOLDER}/vmlinuz", f"{FOLDER}/initrd"
CODE, VARIABLES = f"{FOLDER}/firmware.fd", f"{FOLDER}/variables.fd"
OWN_VARIABLES: Final = f"{RUN_DIR}/variables.fd"
SSH_PORT: Final = 2222
"""Of the container; 22 would need a capability."""
MAC: Final = "52:55:00:d1:55:00"


@dataclass(frozen=True)
class MachineSize:
    """vCPUs, and MiB of memory."""

    vcpus: int
    memory_mib: int


def machine_command(size: MachineSize, accelerator: Accelerator, firmware: Firmware, root: str) -> tuple[str, ...]:
    """The command of the machine's container. `root`: the kernel's, where `firmware` is `direct`."""
    flash = ",pflash0=code,pflash1=variables" if firmware == "uefi" else ""
    accel, cpu = ("kvm", "host") if accelerator == "kvm" else ("tcg,thread=multi,tb-size=512", "max")
    cache = "cache.no-flush=on,discard=unmap"
    return (
        *_own_variables(firmware),
        "qemu-system-x86_64",
        *("-name", "bake", "-no-user-config", "-nodefaults", "-display", "none"),
        *("-machine", f"q35,usb=off,vmport=off,smm=off{flash}"),
        *("-accel", accel, "-cpu", cpu, "-smp", str(size.vcpus), "-m", f"{size.memory_mib}M"),
        *_loader(firmware, root),
        *("-blockdev", f"driver=file,node-name=f0,filename={DISK_PATH},{cache}"),
        *("-blockdev", f"driver=qcow2,node-name=d0,file=f0,{cache}"),
        *("-device", "virtio-blk-pci,drive=d0,id=vda,bootindex=1"),
        *("-blockdev", f"driver=file,node-name=s0,filename={SEED_PATH},read-only=on"),
        *("-device", "virtio-blk-pci,drive=s0,id=cidata"),
        *("-netdev", f"user,id=n0,ipv6=off,hostfwd=tcp::{SSH_PORT}-:22"),
        *("-device", f"virtio-net-pci,netdev=n0,mac={MAC},id=eth0,romfile="),
        *("-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng0"),
        *("-chardev", f"file,id=console,path={CONSOLE_LOG}", "-serial", "chardev:console"),
    )


def _own_variables(firmware: Firmware) -> tuple[str, ...]:
    """A prefix that copies UEFI's pristine variables for this machine, and executes QEMU."""
    if firmware != "uefi":
        return ()
    return ("/bin/sh", "-c", f'cp {VARIABLES} {OWN_VARIABLES} && exec "$@"', "sh")


def _loader(firmware: Firmware, root: str) -> tuple[str, ...]:
    if firmware == "direct":
        return ("-kernel", KERNEL, "-initrd", INITRD, "-append", f"root={root} rw console=ttyS0")
    if firmware == "bios":
        return ()
    return (
        *("-blockdev", f"driver=file,node-name=code,filename={CODE},read-only=on"),
        *("-blockdev", f"driver=file,node-name=variables,filename={OWN_VARIABLES}"),
    )
