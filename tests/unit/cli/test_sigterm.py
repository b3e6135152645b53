"""SIGTERM during a wait on a terminal: the hidden cursor is shown again."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading

HIDDEN, SHOWN = b"\x1b[?25l", b"\x1b[?25h"


def test_the_cursor_is_given_back(url: str) -> None:
    terminal, its_end = pty.openpty()
    environment = {**os.environ, "DAYFLY_URL": url, "TERM": "xterm"}
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        environment.pop(name, None)
    command = ("-m", "dayfly.cli.main", "cluster", "create", "slow-terminal", "--image", "bare", "--wait")
    with subprocess.Popen([sys.executable, *command], stdout=its_end, stderr=its_end, env=environment) as process:
        os.close(its_end)
        seen, signalled = b"", False
        limit = threading.Timer(60, process.kill)
        limit.start()
        while part := _read(terminal):
            seen += part
            if not signalled and b"slow-terminal" in seen.partition(HIDDEN)[2]:
                signalled = True
                process.send_signal(signal.SIGTERM)
        exit_code = process.wait()
        limit.cancel()
    os.close(terminal)
    assert exit_code == 130, seen
    assert seen.rindex(SHOWN) > seen.rindex(HIDDEN)
    assert b"cluster slow-terminal is " in seen
    assert b"; it never expires" in seen
    assert b"Traceback" not in seen


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # no process has the other end any more
        return b""
