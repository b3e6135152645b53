"""README's console blocks produce the shown output, with real clusters."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from dayfly.client import Client, ClusterSummary, Template
from dayfly.settings import Settings
from tests.e2e.lab import PATIENCE_SECONDS
from tests.support.console_blocks import Command, console_blocks
from tests.support.service import Service

pytestmark = pytest.mark.kubernetes

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


def test_readmes_sessions(service: Service, template: Template, tmp_path: Path) -> None:
    """But for its two commands, the first block: they are this suite, and what tests/hosts runs."""
    two_commands, *sessions = console_blocks((REPO / "README.md").read_text())
    for command in two_commands:
        assert os.access(REPO / command.text.split()[0], os.X_OK)
    assert len(sessions) == 4
    reader = Reader(service, tmp_path)
    try:
        for commands in sessions:
            run_all(reader, list(commands))
    finally:
        remove_all(service, template)


def run_all(reader: Reader, commands: list[Command]) -> None:
    """Each of the commands; `heartbeat` runs beside the others until the cluster is deleted."""
    with ExitStack() as beside:
        for command in commands:
            if " heartbeat " in command.text:
                beside.enter_context(reader.running(command))
                continue
            if " delete " in command.text:
                beside.close()
            reader.run(command)


def remove_all(service: Service, template: Template) -> None:
    """All that README's reader made."""
    with Client(service.url) as client:
        for pool in client.pools():
            client.delete_pool(pool.id)
        for cluster in clusters(client):
            client.delete(cluster.id)
        for other in templates(client, template):
            client.delete_template(other.id)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while clusters(client) or templates(client, template) or client.pools():
            assert time.monotonic() < deadline, service.objects()
            time.sleep(1)


def clusters(client: Client) -> list[ClusterSummary]:
    return [cluster for cluster in client.list() if cluster.name.startswith("ci-")]


def templates(client: Client, but: Template) -> list[Template]:
    return [template for template in client.templates() if template.id != but.id]
