"""Contention for the host's CPUs, from its kernel's pressure information. Not here: what follows from it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from dayfly.drivers.interfaces import Pressure

_SOME: Final = re.compile(r"^some avg10=([0-9.]+) ", re.MULTILINE)


class KernelPressure:
    """A PressureGauge over /proc.

    With PSI: the share of the last ten seconds in which at least one process waited for a CPU. Without PSI: the
    one-minute load average, where 0 percent is one process per CPU and 100 percent is two. The load average lags, and
    counts processes that wait for disks.
    """

    def __init__(self, proc: Path = Path("/proc"), *, cpus: int | None = None) -> None:
        self._proc = proc
        self._cpus = cpus or os.cpu_count() or 1

    def read(self) -> Pressure:
        """Zero where the kernel provides neither PSI nor a load average."""
        percent = self._stalled()
        return Pressure(percent, "psi") if percent is not None else Pressure(self._overload(), "load")

    def _stalled(self) -> float | None:
        try:
            found = _SOME.search((self._proc / "pressure" / "cpu").read_text())
        except OSError:
            # PSI is not built in, switched off, or hidden from a container.
            return None
        return float(found[1]) if found else None

    def _overload(self) -> float:
        try:
            load = float((self._proc / "loadavg").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return 0.0
        return min(100.0, max(0.0, (load - self._cpus) / self._cpus * 100))
