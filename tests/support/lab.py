"""A lab stack for one test: docker-compose.yml with its own project, instance and port."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.service import docker, free_port

REPO = Path(__file__).parents[2]
SOCKET = Path("/var/run/docker.sock")
BUILD_SECONDS = 900
COMPOSE_SECONDS = 180
READY_SECONDS = 90
COMMAND_SECONDS = 90


@dataclass(frozen=True)
class LabStack:
    """A stack that is up. `project` is what docker-compose calls it, `instance` what Dayfly calls itself in it."""

    project: str
    instance: str
    url: str
    environment: Mapping[str, str]

    def log_in(self) -> None:
        """As deploy/README.md says: the first token, stored for those who use `environment`."""
        token = self.compose("exec", "-T", "api", "cat", "operator-token").split()[-1]
        done = self.dayfly("login", stdin=token)
        assert done.returncode == 0, done.stderr
        self.compose("exec", "-T", "api", "rm", "operator-token")

    def dayfly(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`dayfly ARGUMENTS` of the stack's operator."""
        return subprocess.run(
            [sys.executable, "-m", "dayfly.cli.main", *arguments],
            env={**self.environment, "DAYFLY_URL": self.url},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def compose(self, *arguments: str) -> str:
        """`docker-compose ARGUMENTS` on it; both streams. Raises RuntimeError with them where it fails."""
        done = subprocess.run(
            ["docker-compose", "--project-name", self.project, "--file", REPO / "docker-compose.yml", *arguments],
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMPOSE_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"docker-compose {' '.join(arguments)}: {done.stdout}")
        return done.stdout

    def logs(self, *services: str) -> str:
        return self.compose("logs", "--no-color", *services)

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers, running or not."""
        return self.compose("ps", "--quiet", "--all", service).split()

    def wait_until_ready(self) -> None:
        """Wait for the API. Raises RuntimeError, with all logs, at the timeout."""
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/readyz", trust_env=False, timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        raise RuntimeError(f"the stack is not ready after {READY_SECONDS} s:\n{self.logs()}")

    def objects(self) -> list[str]:
        """Whatever is on the engine that the stack, or Dayfly in it, has made."""
        found: list[str] = []
        for label in (f"com.docker.compose.project={self.project}", f"dayfly.instance={self.instance}"):
            found += docker("ps", "--all", "--format", "{{.Names}}", "--filter", f"label={label}").split()
            for kind in ("volume", "network"):
                found += docker(kind, "ls", "--quiet", "--filter", f"label={label}").split()
        return found


def build_images(*names: str) -> None:
    """Build the images as deploy/docker/build.sh does, unless they exist."""
    done = subprocess.run(
        [sys.executable, REPO / "deploy/docker/build.py", *names],
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def lab_stack(folder: Path, *, workers: int) -> Iterator[LabStack]:
    """A stack whose API is ready; removed completely afterwards. Its operator's login is kept in `folder`."""
    name, port = f"test-{secrets.token_hex(4)}", free_port()
    # A shell's variables only: the caller's settings must not reach the stack.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("DAYFLY_", "COMPOSE_"))} | {
        "DAYFLY_ENGINE_GID": str(SOCKET.stat().st_gid),
        "DAYFLY_INSTANCE": name,
        "DAYFLY_LISTEN_PORT": str(port),
        "COMPOSE_HTTP_TIMEOUT": str(COMPOSE_SECONDS),
        "XDG_CONFIG_HOME": str(folder),
    }
    stack = LabStack(name, name, f"http://127.0.0.1:{port}", environment)
    try:
        stack.compose("up", "--detach", "--scale", f"worker={workers}")
        stack.wait_until_ready()
        stack.log_in()
        yield stack
    finally:
        try:
            stack.compose("down", "--volumes", "--timeout", "30")
        finally:
            _remove_orphans(stack)


def _remove_orphans(stack: LabStack) -> None:
    """Clusters of a test that failed half-way: they are the test's to remove."""
    left = docker("ps", "--all", "--quiet", "--filter", f"label=dayfly.instance={stack.instance}").split()
    if left:
        docker("rm", "--force", "--volumes", *left)
