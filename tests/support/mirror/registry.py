"""A registry with the images that kubeadm pulls, under their upstream paths. Its content is cached.

The registry is Debian's docker-registry, as in clusters, as a process of this machine; it serves without writing. Paths
have no host, as container runtimes ask a mirror: k8s.gcr.io/pause:3.2 is pause:3.2. Not here: the images' programs
(programs.py), the replacement of CoreDNS (core_dns.py).
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import yaml

from dayfly.clock import SystemClock
from dayfly.images.cache import Cache
from dayfly.images.fingerprint import fingerprint
from dayfly.images.process import run
from dayfly.settings import Settings
from tests.conformance.registry import push_all
from tests.support.debian_programs import debian_program
from tests.support.lab import REPO
from tests.support.mirror.core_dns import write_core_dns
from tests.support.mirror.programs import Kubernetes, kubernetes
from tests.support.service import free_port

SMOKE: Final = "registry.k8s.io/e2e-test-images/busybox:1.37.0-1"
"""An image with a shell, for the check of a new cluster."""
_START_SECONDS: Final = 60
_END_SECONDS: Final = 10
_FILES: Final = (
    "tests/support/mirror/registry.py",
    "tests/support/mirror/core_dns.py",
    "tests/support/docker_archives.py",
    "tests/conformance/registry.py",
)


@dataclass(frozen=True)
class Registry:
    """`address` is HOST:PORT. `wanted`: upstream's references of its images: those that kubeadm pulls, and SMOKE."""

    address: str
    wanted: tuple[str, ...]

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@asynccontextmanager
async def kubernetes_registry(*, host: str = "127.0.0.1") -> AsyncIterator[Registry]:
    """A registry with all images of kubeadm's list; from the cache or filled. Raises BakeFailed, DiskFull."""
    async with kubernetes() as made, Cache(Settings().cache_dir, SystemClock()) as cache:
        program = await debian_program(made.suite, "docker-registry", "usr/bin/docker-registry")
        wanted = await list_images(made)

        async def fill(folder: Path) -> None:
            await asyncio.to_thread(_fill, program, made, wanted, folder)

        key = fingerprint(REPO, dict(made.keys), list(wanted), files=_FILES)
        storage = await cache.get("test-mirror-registry", key, fill) / "storage"
        with running_registry(program, storage, host=host, read_only=True) as address:
            yield Registry(address, wanted)


async def list_images(made: Kubernetes) -> tuple[str, ...]:
    """The images of kubeadm's list for its version, and SMOKE. kubeadm asks no network for a version that is given."""
    argv: list[str | Path] = [made.binaries / "kubeadm", "config", "images", "list"]
    listed = await run([*argv, "--kubernetes-version", made.version])
    return (*sorted(line for line in listed.splitlines() if "/" in line and " " not in line), SMOKE)


def upstream_path(reference: str) -> str:
    """A reference without its host: pause:3.2 of k8s.gcr.io/pause:3.2."""
    return reference.partition("/")[2]


@contextmanager
def running_registry(
    program: Path, storage: Path, *, host: str = "127.0.0.1", read_only: bool = False
) -> Iterator[str]:
    """docker-registry with its images in `storage`; its address, HOST:PORT."""
    address = f"{host}:{free_port()}"
    configuration = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "maintenance": {"readonly": {"enabled": read_only}, "uploadpurging": {"enabled": False}},
        },
        "http": {"addr": address},
    }
    with tempfile.TemporaryDirectory(prefix="dayfly-registry-") as folder:
        config, log = Path(folder) / "config.yml", Path(folder) / "log"
        config.write_text(yaml.safe_dump(configuration))
        with log.open("wb") as output:
            serving = subprocess.Popen([program, "serve", config], stdout=output, stderr=output)
        try:
            _await_answer(address, serving, log)
            yield address
        finally:
            serving.terminate()
            try:
                serving.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                serving.kill()
                serving.wait(_END_SECONDS)


def _await_answer(address: str, serving: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            if httpx.get(f"http://{address}/v2/", trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        assert serving.poll() is None, f"the registry did not start:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"the registry does not answer:\n{log.read_text()}"
        time.sleep(0.05)


def _fill(program: Path, made: Kubernetes, wanted: tuple[str, ...], folder: Path) -> None:
    (core_dns,) = (reference for reference in wanted if "/coredns" in reference)
    own = {
        core_dns: write_core_dns(made.images, core_dns, folder / "coredns.tar"),
        SMOKE: made.images / "dayfly.local_smoke_1.tar",
    }
    storage = folder / "storage"
    storage.mkdir()
    with running_registry(program, storage) as address:
        for reference in wanted:
            archive = own.get(reference) or made.images / f"{reference.replace('/', '_').replace(':', '_')}.tar"
            _push_as(reference, archive, address)
    own[core_dns].unlink()


def _push_as(reference: str, archive: Path, address: str) -> None:
    push_all([archive], address, rename=lambda _: upstream_path(reference))
