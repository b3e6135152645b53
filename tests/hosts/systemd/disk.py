"""The disk of a Debian 13 host: systemd, Docker with Dayfly's images, Dayfly in /opt/dayfly, and the trial.

A host in namespaces builds it, without a loop device. Not here: booting it (machine.py).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from tests.hosts.kinds import HostKind
from tests.hosts.namespaced_host import NamespacedHost
from tests.hosts.roots import REPO, copy_sources

HERE: Final = Path(__file__).parent
KIND: Final = HostKind(
    "debian13-systemd",
    "trixie",
    "docker",
    (
        *("ca-certificates", "dbus", "docker-cli", "docker-compose", "docker.io", "e2fsprogs", "iproute2", "iptables"),
        *("kmod", "mmdebstrap", "openssh-client", "procps", "python3", "python3-venv", "systemd-sysv", "tcc", "udev"),
        "user-mode-linux",
    ),
)
DISK: Final = "/tmp/disk.img"  # noqa: S108 - of the host in namespaces
SHIM: Final = "/usr/lib/dayfly-ptrace-shim.so"
LEGACY: Final = "update-alternatives --quiet --set iptables /usr/sbin/iptables-legacy"
"""User-mode Linux of Debian 13 has no nf_tables for IPv4."""
INSTALL_SECONDS: Final = 600
IMAGES_SECONDS: Final = 900
_DISK_GIB: Final = 24
_FILES: Final = {
    "etc/hostname": f"{KIND.name}\n",
    # systemd creates an id at the first boot.
    "etc/machine-id": "uninitialized\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/fstab": "/dev/ubda / ext4 defaults 0 1\n",
    "etc/dayfly/dayfly.env": "DAYFLY_ACCELERATOR=tcg\n",
}
_NOT_STARTED: Final = (
    # There is no link to wait for.
    "systemd-networkd-wait-online.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
)
_SHIM: Final = f"tcc -shared -nostdinc -nostdlib -o {SHIM} /opt/ptrace_shim.c"
_IMAGE: Final = (
    f"printf 'FROM dayfly/bare:latest\\nRUN {LEGACY}\\n' | DOCKER_BUILDKIT=0 docker build -q --tag dayfly/bare:latest -"
)
_STOP_ENGINE: Final = "kill $(cat /run/docker.pid); while [ -e /run/docker.pid ]; do sleep 0.1; done"
_MODULES: Final = "mkdir -p /usr/lib/modules && ln -s /usr/lib/uml/modules/* /usr/lib/modules/"
_MAKE: Final = f"""
set -eu
mkdir /mnt/root
# Without what is mounted below it, but for the engine's folder.
mount --bind / /mnt/root
mount --bind /var/lib/docker /mnt/root/var/lib/docker
mke2fs -q -F -t ext4 -E lazy_itable_init=1 -d /mnt/root {DISK} {_DISK_GIB}G
umount --recursive /mnt/root
"""


def make_disk(host: NamespacedHost, bare: Path) -> None:
    """Put Dayfly and its images on `host` and make DISK of it; `bare` is a docker-archive of the image.

    Its engine does not run afterwards.
    """
    host.load_image(bare)
    _sh(host, _IMAGE)
    _install(host)
    _sh(host, _STOP_ENGINE)
    _sh(host, LEGACY)
    for path, content in _FILES.items():
        target = host.files / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
    _sh(host, _SHIM)
    _sh(host, _MODULES)
    shutil.copyfile(HERE / "dayfly-trial.service", host.files / "etc/systemd/system/dayfly-trial.service")
    host.run("systemctl", "enable", "--quiet", "dayfly-trial", timeout=60)
    host.run("systemctl", "mask", "--quiet", *_NOT_STARTED, timeout=60)
    _sh(host, _MAKE)


def _install(host: NamespacedHost) -> None:
    """Install Dayfly as the unit and deploy/docker/build.sh describe, from this checkout in /opt/source."""
    source = host.files / "opt/source"
    copy_sources(source)
    shutil.copyfile(REPO / "docker-compose.yml", source / "docker-compose.yml")
    shutil.copytree(REPO / "deploy", source / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("trial.py", "ptrace_shim.c"):
        shutil.copyfile(HERE / name, host.files / "opt" / name)
    host.run("python3", "-m", "venv", "/opt/dayfly", timeout=INSTALL_SECONDS)
    host.run("/opt/dayfly/bin/pip", "install", "-q", "/opt/source[server]", timeout=INSTALL_SECONDS)
    host.run("/opt/dayfly/bin/python", "/opt/source/deploy/docker/build.py", timeout=IMAGES_SECONDS)


def _sh(host: NamespacedHost, script: str) -> None:
    host.run("sh", "-c", script, timeout=INSTALL_SECONDS)
