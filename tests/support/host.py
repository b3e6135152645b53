"""A host for tests, with its own engine, that may crash: tests must not kill the machine's engine.

The host is a process, mount and network namespace. Its processes, VMs included, end with its first process, as after a
power cut; the engine's files stay for the next start. Clusters' ports are bound to `address`, at the host's end of a
veth pair.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.service import docker

START_SECONDS: Final = 60
_NETWORK: Final = "198.18.0.0/15"
"""The range for network tests (RFC 2544), which no network uses."""
# Adopts orphaned processes of its children, like an init.
_INIT: Final = "echo up; sleep infinity & wait"
# An engine of this name would be taken for our own; others' namespaces would be kept alive by our copies.
_PREPARE: Final = "mkdir -p /run/containerd && mount -t tmpfs none /run/containerd && umount --all --types nsfs"


@dataclass
class Host:
    """`folder` is its disk."""

    folder: Path
    word: str = field(default_factory=lambda: secrets.token_hex(3))
    _init: subprocess.Popen[bytes] | None = None
    _engine: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        number = secrets.randbelow(2**15)
        network = ipaddress.ip_network(_NETWORK)
        self._here, self.address = (str(network[4 * number + last]) for last in (1, 2))

    @property
    def engine(self) -> str:
        """The engine's socket."""
        return f"unix://{self.folder}/engine.sock"

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a service on this host."""
        return {"engine": self.engine, "publish_address": self.address}

    def switch_on(self) -> None:
        """The host is up, and its engine answers."""
        # Ends with us, whatever ends us.
        argv = ["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        with (self.folder / "host.log").open("ab") as log:
            self._init = subprocess.Popen(
                [*argv, "--mount-proc", "sh", "-c", _INIT], stdout=subprocess.PIPE, stderr=log
            )
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == b"up\n"
        self._inside("sh", "-c", _PREPARE)
        cable = self._cable
        _run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", str(self._first_process()))
        _run("ip", "address", "add", f"{self._here}/30", "dev", cable)
        _run("ip", "link", "set", cable, "up")
        for command in ("link set lo up", f"address add {self.address}/30 dev eth0", "link set eth0 up"):
            self._inside("ip", *command.split())
        self.start_engine()

    def pull_the_plug(self) -> None:
        """Everything on the host is dead at once."""
        if self._init is not None:
            os.kill(self._first_process(), signal.SIGKILL)
            self._init.wait(START_SECONDS)
            # The kernel takes its time to clear a network namespace away; the cable may be gone already.
            subprocess.run(["ip", "link", "delete", self._cable], stderr=subprocess.DEVNULL, check=False)
            if self._init.stdout is not None:
                self._init.stdout.close()
            self._init = None
        if self._engine is not None:
            self._engine.wait(START_SECONDS)
            self._engine = None
        # To the next engine the numbers in them are those of processes of the next life, which may well be there.
        for left in (self.folder / "engine.pid", self.folder / "run" / "containerd" / "containerd.pid"):
            left.unlink(missing_ok=True)

    def start_engine(self) -> None:
        """Start the engine and wait for it. Containers of a killed engine are stopped by then."""
        # Its own file: the default is the machine's. Plain HTTP to clusters' registries, as for loopback addresses.
        (self.folder / "daemon.json").write_text(json.dumps({"insecure-registries": [_NETWORK]}))
        argv = [
            "dockerd",
            f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/run",
            f"--pidfile={self.folder}/engine.pid",
            f"--host={self.engine}",
            f"--config-file={self.folder}/daemon.json",
            f"--cgroup-parent=/{self._cgroup}",
        ]
        with (self.folder / "engine.log").open("ab") as log:
            self._engine = subprocess.Popen([*self._entered(), *argv], stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                docker("version", engine=self.engine)
            except RuntimeError:
                running = self._engine.poll() is None and time.monotonic() < deadline
                assert running, (self.folder / "engine.log").read_text()[-4000:]
                time.sleep(0.1)
            else:
                return

    def revive(self) -> None:
        """Up again, whatever a test left down."""
        if self._init is None:
            self.switch_on()
        elif self._engine is None:
            self.start_engine()

    def kill_engine(self) -> None:
        """Send SIGKILL, as in a crash. Containers keep running."""
        assert self._engine is not None
        # nsenter waits for the engine, its only child, which is in another process namespace.
        os.kill(_only_child(self._engine.pid), signal.SIGKILL)
        self._engine.wait(START_SECONDS)
        self._engine = None

    def load(self, image: str) -> None:
        """Copy an image of the machine's own engine."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
            load = ["docker", "--host", self.engine, "load", "--quiet"]
            subprocess.run(load, stdin=saving.stdout, stdout=subprocess.DEVNULL, check=True, timeout=300)

    def remove(self) -> None:
        """Nothing of it stays."""
        self.pull_the_plug()
        for hierarchy in Path("/sys/fs/cgroup").glob(f"**/{self._cgroup}"):
            for group, _, _ in os.walk(hierarchy, topdown=False):
                Path(group).rmdir()
        shutil.rmtree(self.folder)

    @property
    def _cable(self) -> str:
        return f"dayfly{self.word}"

    @property
    def _cgroup(self) -> str:
        return f"dayfly-test-{self.word}"

    def _first_process(self) -> int:
        assert self._init is not None
        return _only_child(self._init.pid)

    def _entered(self) -> list[str]:
        return ["nsenter", f"--target={self._first_process()}", "--mount", "--net", "--pid"]

    def _inside(self, *argv: str) -> None:
        _run(*self._entered(), *argv)


@contextmanager
def own_host(*images: str) -> Iterator[Host]:
    """A host that is switched on and has `images` of the machine's own engine."""
    # Not pytest's temporary folder: that may be in memory, and its path too long for a socket.
    host = Host(Path(tempfile.mkdtemp(prefix="dayfly-host-", dir="/var/tmp")))
    try:
        host.switch_on()
        for image in images:
            host.load(image)
        yield host
    finally:
        host.remove()


def _only_child(parent: int) -> int:
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(child)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, timeout=START_SECONDS)
