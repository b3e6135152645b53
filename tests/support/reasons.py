"""Keeps the reasons of failed tests for the end of tests/run.sh: a plugin of pytest that tests/conftest.py registers.

Each process of pytest writes a file of JSON lines into the folder FOLDER_VARIABLE of the environment. With xdist only
the controller writes: it gets the workers' reports. Not here: what run.sh prints (print_reasons.py); what the service
knows at a failure (evidence.py).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

FOLDER_VARIABLE: Final = "TEST_REASONS"
EVIDENCE_SECTION: Final = "what the service knows"
"""The title of the section of a report that evidence.py adds."""
_MAX_LENGTH: Final = 20_000
_MAX_LEAVES: Final = 5


def register(config: pytest.Config) -> None:
    """Add the plugin to this process. Only a process with the folder in its environment writes."""
    # Neither xdist's workers nor pytest that a test starts may write here: they inherit the environment later.
    folder = os.environ.pop(FOLDER_VARIABLE, None)
    config.pluginmanager.register(MessagePlugin())
    if folder is not None:
        config.pluginmanager.register(ReasonsPlugin(Path(folder)))


class MessagePlugin:
    """Adds the exception's message to each report, in the process of the test: xdist transfers only the report."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.excinfo is not None:
            vars(report)["reason"] = message_of(call.excinfo)
        return report


class ReasonsPlugin:
    """Writes a line for each failed phase of a test, each failed collection, and each test that was interrupted."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / f"{os.getpid()}.jsonl"
        self._running: dict[str, None] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._running[nodeid] = None

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._running.pop(nodeid, None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.failed:
            return
        # A report without an exception (a skipped test, a worker that died) has a text.
        text = report.longrepr if isinstance(report.longrepr, str) else getattr(report, "reason", report.longreprtext)
        evidence = [content for title, content in report.sections if title == EVIDENCE_SECTION]
        self._write(report.nodeid, report.when or "", text, "\n".join(evidence))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            text = report.longreprtext
            errors = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
            self._write(report.nodeid, "collection", "\n".join(errors) or text)

    def pytest_internalerror(self, excrepr: object) -> None:
        self._write("pytest", "internal error", str(excrepr))

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        at = excinfo.traceback[-1]
        for nodeid in self._running:
            self._write(nodeid, "interrupted", f"{excinfo.typename} at {at.path}:{at.lineno + 1}")

    def _write(self, test: str, phase: str, message: str, evidence: str = "") -> None:
        kept = {"at": time.time(), "test": test, "phase": phase, "message": _bounded(message), "evidence": evidence}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")


def message_of(excinfo: pytest.ExceptionInfo[Any]) -> str:
    """The exception's type and message; those of a group's exceptions follow the group's."""
    lines = [excinfo.exconly()]
    if isinstance(excinfo.value, BaseExceptionGroup):
        leaves = _leaves(excinfo.value)
        lines += [f"{type(leaf).__name__}: {leaf}" for leaf in leaves[:_MAX_LEAVES]]
    return "\n".join(lines)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for one in group.exceptions:
        found += _leaves(one) if isinstance(one, BaseExceptionGroup) else [one]
    return found


def _bounded(text: str) -> str:
    if len(text) <= _MAX_LENGTH:
        return text
    return f"{text[: _MAX_LENGTH // 2]}\n…\n{text[-_MAX_LENGTH // 2 :]}"
