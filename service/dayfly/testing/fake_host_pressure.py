"""A PressureGauge that says what a test wants."""

from __future__ import annotations

from dayfly.drivers.interfaces import Pressure


class FakePressure:
    """`percent` may be changed at any time."""

    def __init__(self, percent: float = 0.0) -> None:
        self.percent = percent

    def read(self) -> Pressure:
        return Pressure(self.percent, "psi")
