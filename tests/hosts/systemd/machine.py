"""Boots the disk with Debian 13's user-mode Linux, without an external network, and reads the trial's report.

The kernel is an ordinary process: its guests are emulated once, as on any host without KVM, not twice. It has one core.
Not here: the disk's content (disk.py), and the trial on the host (trial.py).
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.hosts.namespaced_host import NamespacedHost
from tests.hosts.systemd.disk import DISK, SHIM

LIMIT_SECONDS: Final = 900
"""From power on to power off."""
MEMORY_MIB: Final = 3072


@dataclass(frozen=True)
class Trial:
    """The host's report: the facts of each step, and the steps' durations."""

    facts: dict[str, dict[str, Any]]
    seconds: dict[str, float]
    total: float


def run_trial(host: NamespacedHost, folder: Path) -> Trial:
    """Boot DISK, and read until the host turns itself off. Console and report are left in `folder`.

    Raises AssertionError with the evidence of a step that failed.
    """
    began = time.monotonic()
    console, report = folder / "console", folder / "report"
    with console.open("w") as shown, report.open("w") as reported:
        machine = subprocess.Popen(
            host.command(
                *("linux.uml", f"mem={MEMORY_MIB}M", f"ubda={DISK}", "root=/dev/ubda", "rw", "panic=-1"),
                *("con=null", "con0=null,fd:1", "ssl=null", f"ssl1=null,fd:{reported.fileno()}"),
                LD_PRELOAD=SHIM,
            ),
            stdin=subprocess.DEVNULL,
            stdout=shown,
            stderr=shown,
            pass_fds=[reported.fileno()],
        )
        try:
            machine.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the host ran for {LIMIT_SECONDS} s:\n{_tail(console)}{_tail(report)}") from None
        finally:
            machine.kill()
            machine.wait()
    lines = [json.loads(line) for line in report.read_text().splitlines() if line]
    for line in lines:
        assert "failed" not in line, "\n".join(f"--- {key}:\n{value}" for key, value in line.items())
    assert [line["step"] for line in lines][-1:] == ["end"], _tail(console)
    return Trial(
        {line["step"]: line["facts"] for line in lines},
        {line["step"]: line["seconds"] for line in lines[:-1]},
        round(time.monotonic() - began, 1),
    )


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-8000:]
