"""A real Dayfly as one or several processes, with its own port, database and instance."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from dayfly.domain.image_catalog import is_in_use_reference
from dayfly.settings import Settings

START_SECONDS = 30
_END_SECONDS = 20


@dataclass
class Process:
    """One process of a service, and where it logs."""

    log: Path
    popen: subprocess.Popen[bytes]

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, as a crash would be."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, timeout: float = _END_SECONDS) -> int:
        """Its exit code, once it has ended by itself; below zero where a signal ended it."""
        return self.popen.wait(timeout)

    def end(self) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        if self.popen.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.kill()
        if self.popen.stdin is not None:
            self.popen.stdin.close()  # left open, a later test would fail with its ResourceWarning


@dataclass
class Service:
    """A service: where it answers, whose objects it makes on which engine, and its processes in the order they began.

    `engine` is the engine's socket; None: the machine's own.
    """

    url: str
    instance: str
    folder: Path
    environment: Mapping[str, str]
    engine: str | None = None
    processes: list[Process] = field(default_factory=list)

    @property
    def log(self) -> Path:
        """Of the first process."""
        return self.processes[0].log

    def logs(self) -> str:
        """The logs of all processes."""
        return "".join(process.log.read_text() for process in self.processes)

    def start(self, command: str, **settings: str) -> Process:
        """Start another process: `dayfly COMMAND`, with `settings` in addition to the service's."""
        return self.start_module("dayfly.cli.main", command, name=command, stdin=None, **settings)

    def start_module(
        self, module: str, *arguments: str, name: str, stdin: int | None = None, **settings: str
    ) -> Process:
        """One more process: `python -m MODULE ARGUMENTS`."""
        log = self.folder / f"{name}-{len(self.processes)}.log"
        with log.open("ab") as output:
            popen = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env={**self.environment, **_variables(settings)},
                stdin=stdin,
                stdout=output,
                stderr=output,
            )
        process = Process(log, popen)
        self.processes.append(process)
        return process

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

    def on_node(self, cluster: str, node: str, command: str, *, timeout: float = 90) -> str:
        """The output of `command` on a node, over SSH."""
        result = self.cli("cluster", "ssh", cluster, node, "--", command, timeout=timeout)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def objects(self) -> set[str]:
        """Everything on the engine that carries this instance's label: `kind name`."""
        found: set[str] = set()
        for kind, argv in {
            "container": ["ps", "-a", "--format", "{{.Names}}"],
            "volume": ["volume", "ls", "--format", "{{.Name}}"],
            "network": ["network", "ls", "--format", "{{.Name}}"],
        }.items():
            label = f"label=dayfly.instance={self.instance}"
            listing = docker(*argv[:-2], "--filter", label, *argv[-2:], engine=self.engine)
            found |= {f"{kind} {name}" for name in listing.split()}
        return found

    def kill(self) -> None:
        """SIGKILL to the first process, as a crash would be."""
        self.processes[0].kill()

    def restart(self, *commands: str) -> None:
        """Send SIGKILL to all processes; then start one for each of `commands`, and wait for its answer."""
        for process in self.processes:
            if process.popen.poll() is None:
                process.kill()
        self.processes.clear()
        for command in commands:
            self.start(command)
        wait_until_it_answers(self)


RUNNING: list[Service] = []
"""The services that this process runs, in the order they began: evidence.py looks at them when a test fails."""
AT_FAILURE: list[Callable[[Service], None]] = []
"""Called with a service that is about to end because its test failed."""


@contextmanager
def running_service(
    folder: Path, *, commands: Sequence[str] = ("serve",), engine: str | None = None, **settings: str
) -> Iterator[Service]:
    """A service whose state lies in `folder`, a process for each of `commands`; settings as in DAYFLY_<NAME>.

    Callers of this machine need no token. Ends with it whatever it made.
    """
    port = free_port()
    settings = {"instance": f"test-{secrets.token_hex(4)}", "loopback_is_operator": "true", **settings}
    if engine is not None:
        settings["docker_host"] = engine
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DAYFLY_")} | {
        "DAYFLY_STATE_DIR": str(folder),
        "DAYFLY_LISTEN_PORT": str(port),
        "DAYFLY_URL": f"http://127.0.0.1:{port}",
        "PYTHONUNBUFFERED": "1",
        **_variables(settings),
    }
    service = Service(f"http://127.0.0.1:{port}", settings["instance"], folder, environment, engine)
    # A KVM that does not work takes each service ten seconds to find out. The result names the boot of this machine.
    probe, shared = folder / "kvm-probe.json", Settings().cache_dir / "tests-kvm-probe.json"
    if engine is None and shared.exists():
        shutil.copyfile(shared, probe)
    try:
        for command in commands:
            service.start(command)
        if any(command in {"serve", "api"} for command in commands):
            wait_until_it_answers(service)
        with _noted(service):
            yield service
    finally:
        for process in service.processes:
            if process.popen.poll() is None:
                process.signal(signal.SIGTERM)
        for process in service.processes:
            process.end()
        _remove_orphans(service)
        if engine is None and probe.exists():
            shared.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(probe, f"{shared}.{port}")
            Path(f"{shared}.{port}").replace(shared)


@contextmanager
def _noted(service: Service) -> Iterator[None]:
    RUNNING.append(service)
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException:  # pytest's own failures are no subclasses of Exception
        for look in AT_FAILURE:
            look(service)
        raise
    finally:
        RUNNING.remove(service)


def docker(*arguments: str, engine: str | None = None, timeout: float = 120) -> str:
    """The docker command's output; raises with its message where it fails."""
    where = [] if engine is None else ["--host", engine]
    result = subprocess.run(
        ["docker", *where, *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )
    if result.returncode != 0:
        raise RuntimeError(f"docker {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(service: Service) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if any(process.popen.poll() is not None for process in service.processes):
            break
        try:
            # Whatever its certificate: a test of the certificate verifies it.
            if httpx.get(f"{service.url}/healthz", trust_env=False, verify=False).status_code == 200:  # noqa: S501
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"the service did not start:\n{service.logs()}")


def _variables(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"DAYFLY_{name.upper()}": value for name, value in settings.items()}


def _remove_orphans(service: Service) -> None:
    """A test that failed half-way leaves things behind: they are the test's to remove."""
    removal = {"container": ("rm", "-f", "-v"), "network": ("network", "rm"), "volume": ("volume", "rm")}
    found = [one.split(" ", 1) for one in service.objects()]
    for kind, argv in removal.items():
        if names := [name for what, name in found if what == kind]:
            docker(*argv, *names, engine=service.engine)
    tags = docker("images", "--format", "{{.Repository}}:{{.Tag}}", "dayfly/in-use", engine=service.engine).split()
    if own := [tag for tag in tags if is_in_use_reference(tag, service.instance)]:
        docker("rmi", *own, engine=service.engine)
