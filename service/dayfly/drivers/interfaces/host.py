"""The host that the engine runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class Pressure:
    """How hard processes contend for the host's CPUs: in percent, by `source` (`psi` or `load`)."""

    percent: float
    source: Literal["psi", "load"]


class PressureGauge(Protocol):
    """The host's pressure, as the kernel tells it."""

    def read(self) -> Pressure: ...
