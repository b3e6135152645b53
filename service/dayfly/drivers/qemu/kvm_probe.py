"""Tests whether KVM works: a kernel must boot on it; that /dev/kvm exists is not enough.

There are hosts whose /dev/kvm opens and creates machines, but never runs a guest: it spins in the firmware. The engine
is asked, even for the device: Dayfly's own container has none, whatever the host has.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from dayfly.clock import Clock, SystemClock
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.drivers.interfaces import ExecResult, ImageStore
from dayfly.errors import EngineRefused, ImageMissing

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_DEVICE: Final = Path("/dev/kvm")
_ALIVE: Final = b"Linux version"
"""What a kernel says first: QEMU may also end well without having run one."""


@dataclass(frozen=True)
class AcceleratorAnswer:
    """Which accelerator machines get, why, and how long it took to find out, in seconds (0: it was known)."""

    accelerator: Accelerator
    reason: str
    seconds: float


async def probe_kvm(
    images: ImageStore,
    image: str,
    kernel: str = "/dayfly/vmlinuz",
    *,
    initrd: str | None = None,
    setting: Literal["auto", "kvm", "tcg"] = "auto",
    cache_file: Path,
    timeout_seconds: float = 10.0,
    device: Path = _DEVICE,
    clock: Clock | None = None,
) -> AcceleratorAnswer:
    """The answer of `setting`; for `auto`, that of a kernel from `image`, booted once per boot of this host.

    The answer is kept in `cache_file`, unless there was no image to boot. Raises EngineUnavailable.
    """
    if setting != "auto":
        return AcceleratorAnswer(setting, f"set to {setting} by the operator", 0.0)
    boot_id = _boot_id()
    if (known := _recall(cache_file, boot_id)) is not None:
        return known
    clock = clock or SystemClock()
    began = clock.monotonic()
    try:
        result = await images.run(image, _boot(kernel, initrd), devices=(str(device),), timeout=timeout_seconds)
    except ImageMissing:
        return AcceleratorAnswer("tcg", f"KVM is not yet tried: there is no image {image} to boot", 0.0)
    except EngineRefused as error:
        return AcceleratorAnswer("tcg", f"the engine does not hand out {device}: {error.message}", 0.0)
    seconds = round(clock.monotonic() - began, 2)
    accelerator, reason = _judge(result, timeout_seconds)
    answer = AcceleratorAnswer(accelerator, reason, seconds)
    _remember(cache_file, boot_id, answer)
    return answer


def _boot_id() -> str:
    return _BOOT_ID.read_text().strip()


def _boot(kernel: str, initrd: str | None) -> tuple[str, ...]:
    """A machine without a disk: its kernel panics, and by that ends, within seconds."""
    return (
        *("qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "256"),
        *("-kernel", kernel, *(("-initrd", initrd) if initrd else ())),
        *("-append", "panic=-1 console=ttyS0"),
        *("-no-reboot", "-display", "none", "-nodefaults", "-serial", "stdio"),
    )


def _judge(result: ExecResult | None, timeout_seconds: float) -> tuple[Accelerator, str]:
    if result is None:
        return "tcg", f"/dev/kvm is there, but a kernel that should end at once still ran after {timeout_seconds:g} s"
    if result.exit_code != 0:
        said = result.stderr.decode(errors="replace").strip().splitlines()
        return "tcg", f"QEMU failed on KVM: {said[-1] if said else f'exit code {result.exit_code}'}"
    if _ALIVE not in result.stdout:
        return "tcg", "QEMU ended on KVM without having run a kernel"
    return "kvm", "a kernel booted on KVM"


def _recall(cache_file: Path, boot_id: str) -> AcceleratorAnswer | None:
    try:
        kept = json.loads(cache_file.read_text())
        if kept["boot_id"] != boot_id or kept["accelerator"] not in {"kvm", "tcg"}:
            return None
        return AcceleratorAnswer(kept["accelerator"], str(kept["reason"]), 0.0)
    except (OSError, ValueError, KeyError, TypeError):
        # Nothing kept, or nothing that can be read: then it is tried.
        return None


def _remember(cache_file: Path, boot_id: str, answer: AcceleratorAnswer) -> None:
    """Atomically, so that two processes that probe at once leave one whole answer. mkstemp makes it mode 0600."""
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=cache_file.parent, prefix=f".{cache_file.name}.")
    with os.fdopen(descriptor, "w") as file:
        json.dump({"boot_id": boot_id, **asdict(answer)}, file)
    Path(temporary).replace(cache_file)
