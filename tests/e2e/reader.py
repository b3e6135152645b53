"""A reader of README who types its commands. Not here: which output they show (test_console_blocks.py)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dayfly.settings import Settings
from tests.e2e.lab import PATIENCE_SECONDS
from tests.support.console_blocks import Command, console_blocks
from tests.support.service import Service

REPO: Final = Path(__file__).parents[2]
URL: Final = "http://127.0.0.1:8700"
"""Where README's server answers."""


@dataclass(frozen=True)
class Reader:
    """A shell that runs README's commands in a new folder."""

    service: Service
    folder: Path

    def run(self, command: Command) -> None:
        began = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", self._own(command)],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        print(f"{time.monotonic() - began:6.1f} s  {command.text.splitlines()[0]}")
        assert done.returncode == 0, f"{command.text}\n{done.stdout}\n{done.stderr}"
        if command.output:
            assert command.shows(done.stdout), f"{command.text}\n{done.stdout}\ninstead of\n{command.output}"

    @contextmanager
    def running(self, command: Command) -> Iterator[None]:
        """While `command` runs, which ends with a signal only."""
        argv = ["bash", "-c", f"exec {self._own(command)}"]
        with subprocess.Popen(argv, cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL) as process:
            try:
                yield
                assert process.poll() is None, f"{command.text} ended"
            finally:
                process.terminate()

    def _own(self, command: Command) -> str:
        return command.text.replace(URL, self.service.url)

    def _environment(self) -> dict[str, str]:
        programs = Path(sys.executable).parent
        # What was baked for the suite is not baked again.
        own = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(self.folder)}
        own["DAYFLY_CACHE_DIR"] = str(Settings().cache_dir)
        return {**self.service.environment, **own}


def readme_blocks() -> tuple[tuple[Command, ...], ...]:
    return console_blocks((REPO / "README.md").read_text())


def template_command() -> Command:
    """README's command that makes a template of a Kubernetes cluster: the suite's only one, since it takes minutes."""
    (found,) = (
        command for block in readme_blocks() for command in block if command.text.startswith("dayfly template create ")
    )
    return found
