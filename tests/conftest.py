"""Rules for all tests: no test is skipped, and no test touches the developer's own Dayfly."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from types import FrameType

import hypothesis
import pytest

from tests.support import reasons

# Busy machines are slow: tests/bench measures durations.
hypothesis.settings.register_profile("dayfly", deadline=None)
hypothesis.settings.load_profile("dayfly")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="include long tests: every host, rare failures, repetitions")


@pytest.fixture(scope="session")
def long(pytestconfig: pytest.Config) -> bool:
    """Whether this run includes long tests (`--long`, before a release)."""
    return bool(pytestconfig.getoption("long"))


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGTERM, _interrupt_once)
    # The developer's own settings must not reach the tests.
    for name in [name for name in os.environ if name.startswith("DAYFLY_") and name != "DAYFLY_CACHE_DIR"]:
        del os.environ[name]
    reasons.register(config)


def _interrupt_once(_number: int, _frame: FrameType | None) -> None:
    """End a run at SIGTERM (a time limit) like Ctrl-C, so that fixtures clean up.

    `timeout` sends SIGTERM to its child and to the child's group: the second one must not interrupt the clean-up.
    It is not set to SIG_IGN, which programs started by the clean-up would inherit.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    raise KeyboardInterrupt


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect long tests without `--long`, rather than skip them."""
    if not config.getoption("long"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report a skipped test as failed: a skipped test protects nothing."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped ({report.longrepr}); tests are never skipped"
    return report
