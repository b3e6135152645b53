"""A host of another Debian on this machine: namespaces, a root file system, and its own container engine.

Closing it removes everything: processes with the process namespace, mounts with the mount namespace, the link with the
network namespace. Not here: the tested hosts (kinds.py), and the tests on them (test_engines.py).
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.hosts.kinds import HostKind

HERE: Final = Path(__file__).parent
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
ENGINE_SECONDS: Final = 60
STOP_SECONDS: Final = 60
_NAMESPACES: Final = ("--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--kill-child")
_HANDED_ON: Final = ("http_proxy", "https_proxy", "no_proxy", "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT")


@dataclass(frozen=True)
class NamespacedHost:
    """A running host. `pid` is its first process as this machine counts, `files` its root file system."""

    kind: HostKind
    pid: int

    @property
    def files(self) -> Path:
        return Path(f"/proc/{self.pid}/root")

    @property
    def socket(self) -> Path:
        """The engine's socket, seen from this machine."""
        return self.files / self.kind.socket.lstrip("/")

    def command(self, *argv: str, **environment: str) -> list[str]:
        """The argv that runs `argv` on the host, as root. Of our environment it gets only how to reach registries."""
        variables = {
            "HOME": "/root",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            **{name: os.environ[name] for name in _HANDED_ON if name in os.environ},
            **({"PIP_CERT": str(CERTIFICATES)} if CERTIFICATES.exists() else {}),
            **environment,
        }
        enter = ("nsenter", "--target", str(self.pid), "-m", "-u", "-i", "-n", "-p", "--root", "--wd")
        return [*enter, "env", "-i", *(f"{name}={value}" for name, value in variables.items()), *argv]

    def run(self, *argv: str, timeout: float, **environment: str) -> str:
        """The output of `argv` on the host. Raises RuntimeError with both streams on a failure."""
        done = subprocess.run(
            self.command(*argv, **environment), capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"{argv[0]} on {self.kind.name} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    @contextmanager
    def engine_api(self) -> Iterator[httpx.Client]:
        """The engine's own API, by paths without a version."""
        transport = httpx.HTTPTransport(uds=str(self.socket))
        with httpx.Client(transport=transport, base_url="http://engine", timeout=120) as client:
            yield client

    def engine_objects(self) -> set[str]:
        """Every container, volume, network and named image on the engine: `kind name`."""
        with self.engine_api() as api:
            containers = api.get("/containers/json", params={"all": "true"}).raise_for_status().json()
            volumes = api.get("/volumes").raise_for_status().json()["Volumes"] or ()
            networks = api.get("/networks").raise_for_status().json()
            images = api.get("/images/json").raise_for_status().json()
        return {
            *(f"container {found['Names'][0].lstrip('/')}" for found in containers),
            *(f"volume {found['Name']}" for found in volumes),
            *(f"network {found['Name']}" for found in networks),
            *(f"image {found['Id']} {' '.join(sorted(found['RepoTags'] or ()))}" for found in images),
        }

    def load_image(self, archive: Path) -> None:
        """Load a docker-archive into the engine."""
        with self.engine_api() as api, archive.open("rb") as content:
            answer = api.post("/images/load", content=content, headers={"Content-Type": "application/x-tar"})
        assert answer.status_code == 200, answer.text
        assert '"error"' not in answer.text, answer.text


@contextmanager
def namespaced_host(
    kind: HostKind, root: Path, scratch: Path, *, log: Path, cache: Path | None = None
) -> Iterator[NamespacedHost]:
    """A host whose root file system is `root`, which does not change; `scratch`, an empty folder, gets the changes.

    The engine of `kind` runs on it, if `kind` has an engine. `log` gets the output of the host's processes. `cache`, a
    folder of this machine, is root's ~/.cache there, and is kept.
    Raises RuntimeError with the last lines of the log.
    """
    name = f"dfhost{secrets.token_hex(3)}"
    with ExitStack() as stack:
        output = stack.enter_context(log.open("w"))
        argv: list[str | Path] = ["unshare", *_NAMESPACES, HERE / "pivot", root, scratch, kind.name]
        process = stack.enter_context(
            subprocess.Popen(
                [*argv, cache or scratch / "cache"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        )
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            process.kill()
            raise RuntimeError(f"{kind.name} did not come up:\n{log.read_text()}")
        host = NamespacedHost(kind, _first_process(process.pid))
        # With its first process all others end, and `unshare` ends after the last of them.
        stack.callback(os.kill, host.pid, signal.SIGKILL)
        stack.enter_context(_linked(host, name))
        _configure(host)
        if kind.engine is not None:
            stack.enter_context(_engine(host, log))
        yield host


def _first_process(unshare: int) -> int:
    children = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
    assert len(children) == 1, children
    return int(children[0])


@contextmanager
def _linked(host: NamespacedHost, name: str) -> Iterator[None]:
    """A link to this machine, which forwards packets to registries."""
    subnet = _free_subnet()
    outer, inner = f"{subnet}.1", f"{subnet}.2"
    masquerade = ("-t", "nat", "POSTROUTING", "-s", f"{subnet}.0/30", "-j", "MASQUERADE")
    forward = [("-t", "filter", "FORWARD", direction, name, "-j", "ACCEPT") for direction in ("-i", "-o")]
    with ExitStack() as stack:
        _run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        _run("ip", "address", "add", f"{outer}/30", "dev", name)
        _run("ip", "link", "set", name, "up")
        for argv in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{inner}/30", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", outer),
        ):
            _run("nsenter", "--target", str(host.pid), "--net", "ip", *argv)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        for _, table, chain, *rule in (masquerade, *forward):
            # First in the chain: an engine on this machine drops unknown packets.
            _run("iptables", "--wait", "-t", table, "-I", chain, *rule)
            stack.callback(_run, "iptables", "--wait", "-t", table, "-D", chain, *rule)
        yield


def _free_subnet() -> str:
    addresses = subprocess.run(["ip", "-4", "address"], capture_output=True, text=True, check=True).stdout
    return next(
        subnet for number in random.sample(range(1, 255), 254) if f" {(subnet := f'10.99.{number}')}." not in addresses
    )


def _configure(host: NamespacedHost) -> None:
    """Write an administrator's files: names, certificates of this machine's registries, the engine's settings."""
    etc = host.files / "etc"
    (etc / "resolv.conf").unlink(missing_ok=True)
    shutil.copyfile("/etc/resolv.conf", etc / "resolv.conf")
    (etc / "hosts").write_text(f"127.0.0.1 localhost {host.kind.name}\n")
    if CERTIFICATES.exists():
        target = host.files / str(CERTIFICATES).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CERTIFICATES, target)
    if host.kind.daemon:
        (etc / "docker").mkdir(exist_ok=True)
        (etc / "docker" / "daemon.json").write_text(json.dumps(dict(host.kind.daemon)))


@contextmanager
def _engine(host: NamespacedHost, log: Path) -> Iterator[None]:
    with log.open("a") as output:
        argv = host.command(*host.kind.serve, **host.kind.environment)
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _wait_for_engine(host, process, log)
        yield
    finally:
        # Ended in order: it takes its control groups, which are this machine's, with it.
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_engine(host: NamespacedHost, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + ENGINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if _accepts(host.socket):
            with host.engine_api() as api:
                api.get("/_ping").raise_for_status()
            return
        time.sleep(0.2)
    raise RuntimeError(f"the engine of {host.kind.name} does not answer:\n{log.read_text()[-4000:]}")


def _accepts(path: Path) -> bool:
    """Whether the address has a listener; without a listener, httpx would leave a socket open."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()}")
