"""A Debian container whose first process is systemd, with Dayfly in /opt/dayfly as on a host.

The container has the one capability that systemd needs for services' sandboxes, and no network. Not here: the unit.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from dayfly.clock import SystemClock
from dayfly.drivers.docker.images import DockerImages
from dayfly.errors import ImageMissing
from dayfly.images.cache import Cache
from dayfly.images.fingerprint import fingerprint
from dayfly.images.recipe import RootFileSystem
from dayfly.images.rootfs import make_rootfs
from dayfly.settings import Settings
from tests.support.lab import REPO, SOCKET
from tests.support.service import docker

BOOT_SECONDS = 60
_INIT = "[ ! -f /sys/fs/cgroup/cgroup.controllers ] || mount -o remount,rw /sys/fs/cgroup; exec /lib/systemd/systemd"
"""With version 2 of cgroups, the engine mounts the container's own part of them read-only."""
_OPTIONS = (
    *("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--cgroupns", "private", "--tmpfs", "/run", "--tmpfs", "/run/lock"),
    *("--network", "none", "--env", "container=docker", "--stop-signal", "SIGRTMIN+3"),
)


_SUITE: str = yaml.safe_load((REPO / "deploy/docker/base.yaml").read_text())["suite"]
"""The Debian of dayfly/service, for Dayfly is taken out of that image: with its virtual environment, its Python."""


@dataclass(frozen=True)
class SystemdHost:
    """A running container. `container` is its name."""

    container: str

    def run(self, *argv: str) -> str:
        """The output of a command in the container; raises RuntimeError with the output on a failure."""
        return docker("exec", self.container, *argv)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--property", name, "--value", unit).strip()


async def systemd_image() -> str:
    """The reference of the image; made when it is missing, and kept."""
    rootfs = RootFileSystem(suite=_SUITE, packages=("python3", "systemd"))
    key = fingerprint(REPO, rootfs)
    reference = f"dayfly/test-systemd:{key[:12]}"
    images = DockerImages()
    try:
        await images.inspect(reference)
    except ImageMissing:

        async def make(folder: Path) -> None:
            await make_rootfs(rootfs, folder / "rootfs.tar")

        async with Cache(Settings().cache_dir, SystemClock()) as cache:
            folder = await cache.get("test-systemd", key, make)
            await images.import_rootfs(folder / "rootfs.tar", reference, changes=["LABEL dayfly.test=systemd"])
    finally:
        await images.close()
    return reference


@contextmanager
def systemd_host(image: str, unit: Path) -> Iterator[SystemdHost]:
    """A host that has booted, with the engine, a group `docker`, Dayfly and the unit in it. Gone afterwards."""
    name = f"dayfly-test-systemd-{secrets.token_hex(4)}"
    engine = ("--volume", f"{SOCKET}:/run/docker.sock")
    host = SystemdHost(name)
    docker("create", "--name", name, *_OPTIONS, *engine, image, "sh", "-c", _INIT)
    try:
        _install_dayfly(name)
        docker("cp", str(unit), f"{name}:/etc/systemd/system/{unit.name}")
        docker("start", name)
        _wait_until_booted(host)
        host.run("groupadd", "--gid", str(SOCKET.stat().st_gid), "docker")
        yield host
    finally:
        docker("rm", "--force", "--volumes", name)


def _install_dayfly(container: str) -> None:
    """/opt/dayfly of dayfly/service: a virtual environment for the same Debian's Python."""
    source = docker("create", "dayfly/service:latest").strip()
    try:
        with subprocess.Popen(["docker", "cp", f"{source}:/opt/dayfly", "-"], stdout=subprocess.PIPE) as reading:
            subprocess.run(["docker", "cp", "-", f"{container}:/opt"], stdin=reading.stdout, check=True, timeout=120)
        assert reading.returncode == 0
    finally:
        docker("rm", "--volumes", source)


def _wait_until_booted(host: SystemdHost) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline:
        try:
            if host.run("systemctl", "is-active", "multi-user.target").strip() == "active":
                return
        except RuntimeError:  # systemctl fails while the boot continues.
            time.sleep(0.2)
    raise RuntimeError(f"systemd did not come up:\n{docker('logs', host.container)}")
