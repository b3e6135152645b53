"""A whole service for benchmarks and tests: its processes, one database, and one fake engine for all processes.

On PostgreSQL, one or several APIs and some workers; on SQLite, one process.

Not here: the parts of a process (process.py), and the measurements.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from tests.support.databases import KEY
from tests.support.service import free_port

START_SECONDS = 60
END_SECONDS = 20
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Fleet:
    """`processes` by name: `engine`; `api`, `api2`, …, `worker1`, …, or `serve`. `ports`: of those that answer."""

    ports: dict[str, int]
    folder: Path
    environment: Mapping[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """Of the first process that answers."""
        return next(iter(self.ports.values()))

    def start(self, *names: str) -> None:
        """Returns when those that have a port answer there."""
        for name in names:
            port = {"DAYFLY_LISTEN_PORT": str(self.ports[name])} if name in self.ports else {}
            self.processes[name] = _start(self, name, {**self.environment, **port})
        for port_number in (self.ports[name] for name in names if name in self.ports):
            self.until(partial(_answers, port_number))

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the signal, and return when the process has ended."""
        self.processes[name].send_signal(number)
        self.processes[name].wait(END_SECONDS)
        del self.processes[name]

    def until(self, so: Callable[[], bool]) -> None:
        """Wait for what the start of processes brings."""
        deadline = time.monotonic() + START_SECONDS
        while not so():
            self.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the processes did not start within {START_SECONDS} s")
            time.sleep(0.05)

    @property
    def socket(self) -> Path:
        """Of the engine."""
        return self.folder / "engine.sock"

    def cpu_seconds(self) -> dict[str, float]:
        """The CPU time of each process so far, of all threads."""
        return {name: cpu_seconds(process.pid) for name, process in self.processes.items()}

    def check(self) -> None:
        """Raises RuntimeError, with its log, where a process has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended:\n{self.last_words(name)}")

    def last_words(self, name: str) -> str:
        """The end of a process's log."""
        return (self.folder / f"{name}.log").read_text()[-4000:]


@contextmanager
def fleet(folder: Path, database_url: str, *, workers: int = 2, apis: int = 1, **settings: str) -> Iterator[Fleet]:
    """Runs within the block; logs and state lie in `folder`. Without `workers` APIs alone, on SQLite, too.

    `settings` as in DAYFLY_<NAME>.
    """
    answering, others = _names(database_url, workers, apis)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAYFLY_")} | {
        "DAYFLY_STATE_DIR": str(folder),
        "DAYFLY_DATABASE_URL": database_url,
        "DAYFLY_SECRETS_KEY": KEY.text,  # which the tests' databases have
        "DAYFLY_ACCELERATOR": "tcg",
        "DAYFLY_LOOPBACK_IS_OPERATOR": "true",
        "PYTHONUNBUFFERED": "1",
        **{f"DAYFLY_{name.upper()}": value for name, value in settings.items()},
    }
    running = Fleet({name: free_port() for name in answering}, folder, environment)
    try:
        running.start("engine")
        running.until(running.socket.exists)
        running.start(*answering, *others)
        yield running
        running.check()
    except Exception as error:
        # Print all logs: the failing process is seldom the cause.
        for name, process in running.processes.items():
            error.add_note(f"{name} ({'runs' if process.poll() is None else 'ended'}):\n{running.last_words(name)}")
        raise
    finally:
        for process in reversed(running.processes.values()):
            _end(process)


def _names(database_url: str, workers: int, apis: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The processes that answer, and the workers."""
    if workers and database_url.startswith("sqlite"):
        return ("serve",), ()
    more = (f"api{number}" for number in range(2, apis + 1))
    return ("api", *more), tuple(f"worker{number}" for number in range(1, workers + 1))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, from the kernel's own account."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _start(running: Fleet, name: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.bench.process", name.rstrip("0123456789"), str(running.socket)]
    with (running.folder / f"{name}.log").open("ab") as output:
        return subprocess.Popen(argv, env=dict(environment), stdout=output, stderr=output, stdin=subprocess.DEVNULL)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
