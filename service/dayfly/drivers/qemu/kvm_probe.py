"""Tests whether KVM works: a kernel must boot on it; that /dev/kvm exists is not enough.

On some hosts /dev/kvm opens and creates machines, but every guest spins in the firmware. The engine opens the device:
Dayfly's own container has none, whatever the host has.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from dayfly.clock import Clock, SystemClock, boot_time
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.drivers.interfaces import ExecResult, ImageStore
from dayfly.errors import EngineRefused, ImageMissing

_DEVICE: Final = Path("/dev/kvm")
_LIMIT_SECONDS: Final = 10.0
_MACHINE: Final = (
    *("qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-m", "256"),
    *("-kernel", "/dayfly/vmlinuz", "-append", "panic=-1 console=ttyS0"),
    *("-no-reboot", "-display", "none", "-nodefaults", "-serial", "stdio"),
)
"""A machine without a disk: its kernel panics within seconds, which ends QEMU."""
_NO_KERNEL: Final = b"could not open kernel file"
_ALIVE: Final = b"Linux version"
"""A kernel's first output. QEMU may exit with 0 without having run a kernel."""


@dataclass(frozen=True)
class AcceleratorAnswer:
    """The accelerator of machines, the reason, and the seconds that the probe took (0: no probe ran).

    `remembered`: the file with the answer of an earlier probe; "" where the answer is new.
    """

    accelerator: Accelerator
    reason: str
    seconds: float
    remembered: str = ""


async def probe_kvm(
    images: ImageStore,
    image: str,
    *,
    setting: Literal["auto", "kvm", "tcg"] = "auto",
    cache_file: Path,
    device: Path = _DEVICE,
    clock: Clock | None = None,
) -> AcceleratorAnswer:
    """`setting` itself; for `auto`, the result of booting a kernel from `image`, once per boot of this host.

    The result is cached in `cache_file`, unless no container ran. Raises EngineUnavailable.
    """
    if setting != "auto":
        return AcceleratorAnswer(setting, f"set to {setting} by the operator", 0.0)
    boot_id = boot_time().boot_id
    if (known := _recall(cache_file, boot_id)) is not None:
        return known
    clock = clock or SystemClock()
    began = clock.monotonic()
    try:
        result = await images.run(image, _MACHINE, devices=(str(device),), timeout=_LIMIT_SECONDS)
    except ImageMissing:
        return AcceleratorAnswer("tcg", f"KVM is not tested yet: there is no image {image} to boot", 0.0)
    except EngineRefused as error:
        return AcceleratorAnswer("tcg", f"the engine does not provide {device}: {error.for_operator}", 0.0)
    if result is not None and _NO_KERNEL in result.stderr:
        # Another image may have a kernel.
        return AcceleratorAnswer("tcg", f"KVM is not tested yet: the image {image} has no kernel to boot", 0.0)
    seconds = round(clock.monotonic() - began, 2)
    accelerator, reason = _judge(result)
    answer = AcceleratorAnswer(accelerator, reason, seconds)
    _remember(cache_file, boot_id, answer)
    return answer


def _judge(result: ExecResult | None) -> tuple[Accelerator, str]:
    if result is None:
        return "tcg", f"/dev/kvm exists, but a kernel that should end at once still ran after {_LIMIT_SECONDS:g} s"
    if result.exit_code != 0:
        lines = result.stderr.decode(errors="replace").strip().splitlines()
        return "tcg", f"QEMU failed on KVM: {lines[-1] if lines else f'exit code {result.exit_code}'}"
    if _ALIVE not in result.stdout:
        return "tcg", "QEMU on KVM exited without having run a kernel"
    return "kvm", "a kernel booted on KVM"


def _recall(cache_file: Path, boot_id: str) -> AcceleratorAnswer | None:
    try:
        cached = json.loads(cache_file.read_text())
        if cached["boot_id"] != boot_id or cached["accelerator"] not in {"kvm", "tcg"}:
            return None
        return AcceleratorAnswer(cached["accelerator"], str(cached["reason"]), 0.0, str(cache_file))
    except (OSError, ValueError, KeyError, TypeError):
        # The cache is missing or unreadable: probe.
        return None


def _remember(cache_file: Path, boot_id: str, answer: AcceleratorAnswer) -> None:
    """Write atomically, so that concurrent probes leave one complete file. mkstemp sets mode 0600."""
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=cache_file.parent, prefix=f".{cache_file.name}.")
    with os.fdopen(descriptor, "w") as file:
        json.dump({"boot_id": boot_id, **asdict(answer)}, file)
    Path(temporary).replace(cache_file)
