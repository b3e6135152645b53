"""Waits for a template, checkpoint or pool: on a terminal one live line; elsewhere a line for each change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from rich.text import Text

from dayfly.cli.errors import CommandError
from dayfly.cli.exit_codes import ExitCode
from dayfly.cli.formatting import format_duration
from dayfly.cli.progress.live import Console, LiveView, draws
from dayfly.client import sync_connection
from dayfly.client.retries import Backoff

T = TypeVar("T")

_PAUSE_SECONDS: Final = 1.0


def wait_for(
    look: Callable[[], T],
    is_over: Callable[[T], bool],
    state: Callable[[T], str],
    what: str,
    timeout_seconds: float,
    *,
    if_interrupted: tuple[str, str],
) -> T:
    """Look until `is_over`, and show `state` on standard error. Outages and foreign answers are waited out.

    Raises CommandError after `timeout_seconds`, and on Ctrl-C: with `if_interrupted`, a sentence about what the server
    continues, and the command that deletes it.
    """
    backoff = Backoff(timeout_seconds)
    try:
        with _StateView(Console(stderr=True), what) as view:
            while True:
                seen = sync_connection.sync_retry(backoff, look)
                view.show(state(seen))
                if is_over(seen):
                    return seen
                if backoff.remaining <= 0:
                    detail = f"{what} is {state(seen)}, after {timeout_seconds:.0f} s"
                    raise CommandError("wait_timeout", detail, "the server continues", exit_code=ExitCode.TIMEOUT)
                sync_connection.sync_pause(min(_PAUSE_SECONDS, backoff.remaining))
    except KeyboardInterrupt as error:
        raise CommandError("interrupted", *if_interrupted, exit_code=ExitCode.INTERRUPTED) from error


class _StateView(LiveView):
    def __init__(self, console: Console, what: str) -> None:
        super().__init__(console)
        self._what = what
        self._state = ""
        self._began = time.monotonic()

    def show(self, state: str) -> None:
        changed, self._state = state != self._state, state
        if changed and not draws(self.console):
            self.console.print(self.render(), soft_wrap=True)

    def render(self) -> Text:
        return Text(f"[{format_duration(time.monotonic() - self._began):>10}] {self._what}: {self._state}")
