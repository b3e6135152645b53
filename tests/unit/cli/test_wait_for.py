"""Waits for templates, checkpoints and pools."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.progress.resource import wait_for
from dayfly.client import ApiError, Unreachable


class Time:
    """A clock that advances while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def wait(look: Callable[[], str], timeout_seconds: float = 60.0) -> str:
    time = Time()
    return wait_for(
        look,
        lambda seen: seen == "ready",
        str,
        "template x",
        timeout_seconds,
        monotonic=time.monotonic,
        sleep=time.sleep,
    )


def answers(*given: str | Exception) -> Callable[[], str]:
    following: Iterator[str | Exception] = iter(given)

    def look() -> str:
        answer = next(following)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return look


def test_each_change_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert wait(answers("building", "building", "ready")) == "ready"
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["template x: building", "template x: ready"]


def test_outages_are_waited_out() -> None:
    assert wait(answers(Unreachable("http://x", "gone"), ApiError("x", 503, "later", {}), "ready")) == "ready"


def test_a_refusal_is_raised() -> None:
    with pytest.raises(ApiError):
        wait(answers("building", ApiError("not_found", 404, "gone", {})))


def test_the_time_limit() -> None:
    with pytest.raises(CommandError, match="template x is building, after 3 s") as raised:
        wait(lambda: "building", 3.0)
    assert raised.value.exit_code == ExitCode.TIMEOUT

    def away() -> str:
        raise Unreachable("http://x", "gone")

    with pytest.raises(Unreachable):
        wait(away, 3.0)
