"""Host pressure from the kernel's files, and hosts without these files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dayfly.drivers.host_pressure import KernelPressure
from dayfly.drivers.interfaces import Pressure

PSI = """some avg10=12.34 avg60=1.07 avg300=1.10 total=4294717336
full avg10=99.00 avg60=0.00 avg300=0.00 total=0
"""


def _load(proc: Path, load: str) -> None:
    (proc / "loadavg").write_text(f"{load} 9.99 9.99 2/345 6789\n")


def test_psi_comes_first(tmp_path: Path) -> None:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "cpu").write_text(PSI)
    _load(tmp_path, "50.0")

    assert KernelPressure(tmp_path, cpus=2).read() == Pressure(12.34, "psi")


@pytest.mark.parametrize(
    ("load", "percent"), [("0.00", 0), ("2.00", 0), ("3.00", 50), ("4.00", 100), ("4.50", 100), ("120.00", 100)]
)
def test_load_where_there_is_no_psi(tmp_path: Path, load: str, percent: float) -> None:
    _load(tmp_path, load)

    assert KernelPressure(tmp_path, cpus=2).read() == Pressure(percent, "load")


@pytest.mark.parametrize("text", ["", "nonsense\n", "some avg60=1.0\n"])
def test_psi_that_says_nothing_known(tmp_path: Path, text: str) -> None:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "cpu").write_text(text)
    _load(tmp_path, "3.0")

    assert KernelPressure(tmp_path, cpus=2).read() == Pressure(50, "load")


def test_psi_that_cannot_be_read(tmp_path: Path) -> None:
    # A folder in its place: opening it fails, as reading does where PSI is switched off.
    (tmp_path / "pressure" / "cpu").mkdir(parents=True)
    _load(tmp_path, "3.0")

    assert KernelPressure(tmp_path, cpus=2).read().source == "load"


@pytest.mark.parametrize("text", [None, "", "nonsense"])
def test_no_pressure_where_nothing_is_told(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "loadavg").write_text(text)

    assert KernelPressure(tmp_path, cpus=2).read() == Pressure(0, "load")


def test_this_kernel_tells_something() -> None:
    assert 0 <= KernelPressure().read().percent <= 100
