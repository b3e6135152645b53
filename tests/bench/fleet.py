"""A whole service for benchmarks: its processes, one database, and one fake engine for all processes.

On PostgreSQL, one API and some workers; on SQLite, one process.

Not here: the parts of a process (process.py), and the measurements.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.service import free_port

START_SECONDS = 60
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Fleet:
    """`processes` by name: `engine`; `api`, `worker1`, …, or `serve`."""

    port: int
    folder: Path
    processes: Mapping[str, subprocess.Popen[bytes]]

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
def fleet(folder: Path, database_url: str, *, workers: int = 2, **settings: str) -> Iterator[Fleet]:
    """Runs within the block; logs and state lie in `folder`. Without `workers` an API alone, on SQLite, too.

    `settings` as in DAYFLY_<NAME>.
    """
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAYFLY_")} | {
        "DAYFLY_STATE_DIR": str(folder),
        "DAYFLY_DATABASE_URL": database_url,
        "DAYFLY_LISTEN_PORT": str(port),
        "DAYFLY_ACCELERATOR": "tcg",
        "DAYFLY_LOOPBACK_IS_OPERATOR": "true",
        "PYTHONUNBUFFERED": "1",
        **{f"DAYFLY_{name.upper()}": value for name, value in settings.items()},
    }
    socket = folder / "engine.sock"
    processes: dict[str, subprocess.Popen[bytes]] = {}
    running = Fleet(port, folder, processes)
    try:
        processes["engine"] = _start("engine", socket, folder / "engine.log", environment)
        _until(running, socket.exists)
        for name in _names(database_url, workers):
            processes[name] = _start(name.rstrip("0123456789"), socket, folder / f"{name}.log", environment)
        _until(running, lambda: _answers(port))
        yield running
        running.check()
    except Exception as error:
        # Print all logs: the failing process is seldom the cause.
        for name, process in processes.items():
            error.add_note(f"{name} ({'runs' if process.poll() is None else 'ended'}):\n{running.last_words(name)}")
        raise
    finally:
        for process in reversed(processes.values()):
            _end(process)


def _names(database_url: str, workers: int) -> tuple[str, ...]:
    if workers and database_url.startswith("sqlite"):
        return ("serve",)
    return ("api", *(f"worker{number}" for number in range(1, workers + 1)))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, from the kernel's own account."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _start(role: str, socket: Path, log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.bench.process", role, str(socket)]
    with log.open("ab") as output:
        return subprocess.Popen(argv, env=dict(environment), stdout=output, stderr=output, stdin=subprocess.DEVNULL)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _until(running: Fleet, so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not so():
        running.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"the processes did not start within {START_SECONDS} s")
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
