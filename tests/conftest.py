"""What holds for all tests: nothing is skipped, and nothing of the caller's own Dayfly is touched."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from types import FrameType

import hypothesis
import pytest

# A busy machine takes its time: how fast something is, is for tests/bench to say.
hypothesis.settings.register_profile("dayfly", deadline=None)
hypothesis.settings.load_profile("dayfly")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="all that takes long: every host, rare endings, repetitions")


@pytest.fixture(scope="session")
def long(pytestconfig: pytest.Config) -> bool:
    """Whether this run has the time to repeat: `--long`, before a release."""
    return bool(pytestconfig.getoption("long"))


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGTERM, _interrupt_once)
    # What a developer has set for a service of their own must not reach the tests.
    for name in [name for name in os.environ if name.startswith("DAYFLY_") and name != "DAYFLY_CACHE_DIR"]:
        del os.environ[name]


def _interrupt_once(_number: int, _frame: FrameType | None) -> None:
    """A time limit from outside ends a run as Ctrl-C does, so that fixtures still clean up.

    `timeout` sends SIGTERM to its child and to the child's group: the second one must not interrupt the clean-up.
    It is not set to SIG_IGN, which programs started by the clean-up would inherit.
    """
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    raise KeyboardInterrupt


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long is another command's work: it is not collected, rather than skipped."""
    if not config.getoption("long"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that cannot run here has failed: a skipped test protects nothing."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped ({report.longrepr}); tests are never skipped"
    return report
