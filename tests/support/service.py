"""A real `dayfly serve` in a process of its own, on a port, a database and an instance of its own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

START_SECONDS = 30


@dataclass
class Service:
    """A running service: where it answers, whose objects it makes, and what it logs."""

    url: str
    instance: str
    log: Path
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]

    def cli(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """`dayfly ARGUMENTS` against this service."""
        return subprocess.run(
            [sys.executable, "-m", "dayfly.cli.main", *arguments],
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def objects(self) -> set[str]:
        """Everything on the engine that carries this instance's label: `kind name`."""
        found: set[str] = set()
        for kind, argv in {
            "container": ["ps", "-a", "--format", "{{.Names}}"],
            "volume": ["volume", "ls", "--format", "{{.Name}}"],
            "network": ["network", "ls", "--format", "{{.Name}}"],
        }.items():
            listing = docker(*argv[:-2], "--filter", f"label=dayfly.instance={self.instance}", *argv[-2:])
            found |= {f"{kind} {name}" for name in listing.split()}
        return found

    def kill(self) -> None:
        """SIGKILL, as a crash would be."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@contextmanager
def running_service(folder: Path, **settings: str) -> Iterator[Service]:
    """A service whose state lies in `folder`; settings as in DAYFLY_<NAME>. Ends with it whatever it made."""
    port = free_port()
    instance = settings.pop("instance", f"test-{secrets.token_hex(4)}")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DAYFLY_")} | {
        "DAYFLY_STATE_DIR": str(folder),
        "DAYFLY_LISTEN_PORT": str(port),
        "DAYFLY_INSTANCE": instance,
        "DAYFLY_URL": f"http://127.0.0.1:{port}",
        "PYTHONUNBUFFERED": "1",
        **{f"DAYFLY_{name.upper()}": value for name, value in settings.items()},
    }
    log = folder / "serve.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dayfly.cli.main", "serve"], env=environment, stdout=output, stderr=output
        )
    service = Service(f"http://127.0.0.1:{port}", instance, log, environment, process)
    try:
        _wait_until_it_answers(service)
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        _remove_strays(service)


def docker(*arguments: str, timeout: float = 120) -> str:
    """The docker command's output; raises with its message where it fails."""
    result = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"docker {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(service: Service) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if service.process.poll() is not None:
            break
        try:
            if httpx.get(f"{service.url}/healthz", trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"the service did not start:\n{service.log.read_text()}")


def _remove_strays(service: Service) -> None:
    """A test that failed half-way leaves clusters behind: they are the test's to remove."""
    names = [name.removeprefix("container ") for name in service.objects() if name.startswith("container ")]
    if names:
        docker("rm", "-f", "-v", *names)
