"""A shell in a folder: runs functions of deploy/*.sh and tests/run.sh in real bash with stand-in programs.

PATH has only the stand-ins and the small programs named here: no test installs or starts a program of the machine. Not
here: the stand-ins' scripts; each test writes its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPO: Final = Path(__file__).parents[2]
SECONDS: Final = 30
"""More than anything here takes."""
# fmt: off
PROGRAMS: Final = (
    "awk", "bash", "cat", "chmod", "comm", "cut", "date", "df", "dirname", "env", "grep", "head", "id", "kill",
    "mkdir", "mktemp", "nproc", "rm", "sed", "setsid", "sha256sum", "sleep", "sort", "stat", "tail", "timeout",
    "touch", "tr", "true",
)
# fmt: on
_PROLOGUE: Final = """
export LC_ALL=C.UTF-8
{sources}
PATH={programs}
VENV={folder}/venv STATE_DIR={folder}/state CACHE_DIR={folder}/cache TMPDIR={folder}/tmp
PYTHONS=(python3) ENGINE_PAUSE=0.01
is_root() {{ true; }}; has_systemd() {{ false; }}; has_apparmor() {{ false; }}
engine_socket() {{ echo {folder}/docker.sock; }}
export TMPDIR
cd {folder}
"""


@dataclass(frozen=True)
class Result:
    """The result of a script; `said` is both streams."""

    code: int
    said: str


@dataclass(frozen=True)
class Shell:
    """`folder` holds bin/ (the whole PATH), state/, tmp/ and the stand-ins' files."""

    folder: Path

    def stand_in(self, name: str, body: str) -> None:
        """A program of that name in bash; each call is added to the file `calls`."""
        path = self.folder / "bin" / name
        path.unlink(missing_ok=True)
        path.write_text(f'#!/bin/bash\necho "{name} $*" >>{self.folder}/calls\n{body}\n')
        path.chmod(0o755)

    def calls(self, name: str = "") -> list[str]:
        """The stand-ins' calls, in order; with `name`, only those of that stand-in."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if line.startswith(name)]

    def run(self, script: str, *, sources: tuple[str, ...] = ("lib", "python", "engine")) -> Result:
        with self.start(script, sources=sources) as process:
            said, _ = process.communicate(timeout=SECONDS)
            return Result(process.returncode, said)

    @contextmanager
    def start(self, script: str, *, sources: tuple[str, ...]) -> Iterator[subprocess.Popen[str]]:
        """The script as a process in its own process group, killed at the end."""
        files = [name if "/" in name else f"deploy/{name}.sh" for name in sources]
        prologue = _PROLOGUE.format(
            sources="\n".join(f"source {REPO / file}" for file in files),
            programs=self.folder / "bin",
            folder=self.folder,
        )
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("DAYFLY_", "DOCKER_"))}
        process = subprocess.Popen(
            ["bash", "-c", f"set -uo pipefail\n{prologue}\n{script}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def pid(self, name: str) -> int:
        """Wait for the file `name`; the pid that a stand-in wrote to it."""
        file = self.folder / name
        wait_until(lambda: file.exists() and file.read_text().strip() != "", f"{file} is written")
        return int(file.read_text())


def make_shell(folder: Path) -> Shell:
    for name in ("bin", "tmp", "state"):
        (folder / name).mkdir()
    for program in PROGRAMS:
        found = shutil.which(program)
        assert found is not None, program
        (folder / "bin" / program).symlink_to(found)
    return Shell(folder)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {SECONDS} s until {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
