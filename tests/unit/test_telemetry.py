"""Logs: events that callers can repeat do not fill a disk."""

from __future__ import annotations

import logging

import pytest

from dayfly.telemetry import RepetitionFilter


def record(name: str, message: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, message, None, None)


def text(line: logging.LogRecord) -> str:
    return str(line.msg["event"] if isinstance(line.msg, dict) else line.msg)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("asyncio", "socket.accept() out of system resource"),
        ("uvicorn.error", "Invalid HTTP request received."),
        ("dayfly.api.connections", {"event": "too many connections", "maximum": 3}),
        ("dayfly.drivers.docker.errors", {"event": "listing images: the engine cannot be reached", "details": "x"}),
        ("dayfly.api.outages", {"event": "the database cannot be reached", "reason": "x"}),
    ],
)
def test_what_callers_repeat_is_logged_a_few_times_and_then_again_later(name: str, message: object) -> None:
    now = 0.0
    tested = RepetitionFilter(maximum=3, seconds=30, monotonic=lambda: now)
    lines = [record(name, message) for _ in range(1000)]
    assert [tested.filter(line) for line in lines] == [True] * 3 + [False] * 997
    assert text(lines[1]) == text(record(name, message))
    assert text(lines[2]) == f"{text(lines[1])} (more of these are not logged for 30 s)"
    assert tested.filter(record(name, "another message"))
    now = 30.0
    assert tested.filter(record(name, message))


def test_lines_of_asyncio_are_of_one_kind_whatever_connection_they_name() -> None:
    tested = RepetitionFilter(maximum=3)
    lines = [record("asyncio", f"Fatal error\nprotocol: <{number}>") for number in range(9)]
    assert [tested.filter(line) for line in lines] == [True] * 3 + [False] * 6


def test_other_lines_are_all_logged() -> None:
    tested = RepetitionFilter(maximum=1)
    assert all(tested.filter(record("dayfly.controllers.gc", "removed")) for _ in range(10))


def test_messages_that_differ_do_not_pile_up() -> None:
    tested = RepetitionFilter()
    assert all(tested.filter(record("asyncio", f"Task {number} was destroyed")) for number in range(5000))
    assert len(tested._seen) <= 200
