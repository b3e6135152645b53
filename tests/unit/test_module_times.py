"""The table of each module's seconds."""

from __future__ import annotations

import re

import pytest

from tests.support import module_times

pytest_plugins = ["pytester"]
SLOW = """
import time
import pytest

@pytest.fixture
def lab():
    time.sleep(0.3)
    yield
    time.sleep(0.2)

def test_one(lab):
    time.sleep(0.4)

def test_two():
    time.sleep(0.1)
"""


def test_the_slowest_module_is_first_with_setup_call_and_teardown(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    own = module_times._SECONDS.copy()
    own.clear()
    monkeypatch.setattr(module_times, "_SECONDS", own)
    hooks = "pytest_runtest_logreport, pytest_terminal_summary"
    pytester.makeconftest(f"from tests.support.module_times import {hooks}\n")
    pytester.makepyfile(test_quick="def test_it():\n    pass\n", test_slow=SLOW)
    said = [line for line in pytester.runpytest_inprocess().outlines if line]
    begin = next(number for number, line in enumerate(said) if "seconds of each module" in line)
    assert said[begin + 1].split() == ["total", "setup", "call", "teardown", "module"]
    total, setup, call, teardown, module = said[begin + 2].split()
    assert module == "test_slow.py"
    assert float(setup) >= 0.3
    assert float(call) >= 0.5
    assert float(teardown) >= 0.2
    assert float(total) >= 1.0
    assert re.fullmatch(r"( +\d+\.\d){4}  test_quick\.py", said[begin + 3])
