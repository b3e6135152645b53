"""The host that the engine runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Pressure:
    """Contention for the host's CPUs in percent, measured by `source`."""

    percent: float
    source: Literal["psi", "load"]


class PressureGauge(Protocol):
    """Reads the host's pressure from its kernel."""

    def read(self) -> Pressure: ...
