"""Waits for a template, checkpoint or pool: on a terminal one live line; elsewhere a line for each change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from rich.console import Console
from rich.text import Text

from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.formatting import format_duration
from dayfly.cli.progress.live import LiveView, draws
from dayfly.client import ApiError, Unreachable

T = TypeVar("T")

_PAUSE_SECONDS: Final = 1.0


def wait_for(
    look: Callable[[], T],
    is_over: Callable[[T], bool],
    state: Callable[[T], str],
    what: str,
    timeout_seconds: float,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Look until `is_over`, and show `state` on standard error. Outages of the server are waited out.

    Raises CommandError after `timeout_seconds`, and on Ctrl-C.
    """
    try:
        return _wait_for(look, is_over, state, what, timeout_seconds, monotonic, sleep)
    except KeyboardInterrupt as error:
        raise CommandError("interrupted", f"{what} goes on", exit_code=ExitCode.INTERRUPTED) from error


def _wait_for(
    look: Callable[[], T],
    is_over: Callable[[T], bool],
    state: Callable[[T], str],
    what: str,
    timeout_seconds: float,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> T:
    began = monotonic()
    with _StateView(Console(stderr=True), what) as view:
        while True:
            try:
                seen = look()
            except (Unreachable, ApiError) as error:
                if isinstance(error, ApiError) and error.status < 500:
                    raise
                if monotonic() - began >= timeout_seconds:
                    raise
                view.show(str(error))
            else:
                view.show(state(seen))
                if is_over(seen):
                    return seen
                if monotonic() - began >= timeout_seconds:
                    detail = f"{what} is {state(seen)}, after {timeout_seconds:.0f} s"
                    raise CommandError("wait_timeout", detail, "the server continues", exit_code=ExitCode.TIMEOUT)
            sleep(min(_PAUSE_SECONDS, max(0.0, timeout_seconds - (monotonic() - began))))


class _StateView(LiveView):
    def __init__(self, console: Console, what: str) -> None:
        super().__init__(console)
        self._what = what
        self._state = ""
        self._began = time.monotonic()

    def show(self, state: str) -> None:
        changed, self._state = state != self._state, state
        if changed and not draws(self.console):
            self.console.print(self._line(), soft_wrap=True)

    def render(self) -> Text:
        return self._line()

    def _line(self) -> Text:
        return Text(f"[{format_duration(time.monotonic() - self._began):>10}] {self._what}: {self._state}")
