"""A table of each module's seconds at the end of pytest's output; a conftest.py imports the hooks from here.

setup, call and teardown: a fixture that modules share is counted for the module whose test needs the fixture first.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import pytest

_PHASES: Final = ("setup", "call", "teardown")
_SECONDS: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(_PHASES, 0.0))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when in _PHASES:
        _SECONDS[report.nodeid.partition("::")[0]][report.when] += report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _SECONDS:
        return
    terminalreporter.section("seconds of each module")
    terminalreporter.write_line(f"{'total':>8}{''.join(f'{phase:>10}' for phase in _PHASES)}  module")
    for module, seconds in sorted(_SECONDS.items(), key=lambda item: -sum(item[1].values())):
        parts = "".join(f"{seconds[phase]:10.1f}" for phase in _PHASES)
        terminalreporter.write_line(f"{sum(seconds.values()):8.1f}{parts}  {module}")
