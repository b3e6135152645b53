"""Waits for templates, checkpoints and pools."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.progress.resource import wait_for
from dayfly.client import ApiError, Unreachable, sync_connection

INTERRUPTED = ("template x is being built", "dayfly template delete x")


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The present time, which advances by what is slept."""
    now = [0.0]
    monkeypatch.setattr("dayfly.client.retries.time.monotonic", lambda: now[0])
    monkeypatch.setattr(sync_connection, "sync_pause", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def wait(look: Callable[[], str], timeout_seconds: float = 60.0) -> str:
    return wait_for(look, lambda seen: seen == "ready", str, "template x", timeout_seconds, if_interrupted=INTERRUPTED)


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
    foreign = [ApiError("unexpected_answer", status, "no", {}) for status in (401, 403, 404, 429, 502)]
    busy = ApiError("too_many_waits", 429, "later", {})
    assert wait(answers(Unreachable("http://x", "gone"), *foreign, busy, "building", *foreign, "ready")) == "ready"


def test_the_pauses_grow_and_are_what_the_server_asks_for(time: list[float]) -> None:
    asked = ApiError("x", 503, "later", {}, retry_after_seconds=20)
    assert wait(answers(Unreachable("x", "y"), Unreachable("x", "y"), Unreachable("x", "y"), asked, "ready")) == "ready"
    assert time == [0.5 + 1 + 2 + 20]


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
