"""Bakes on the suite's cloud image: bases and recipes that name it, and a mirror that has it.

The bases' addresses are upstream's in form; only the settings replace them, as on a host without internet. Not here:
the image (mirror/cloud_image.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from dayfly import assets
from dayfly.cli.image_tools import open_tools
from dayfly.client import Client, Cluster
from dayfly.domain.bake_addresses import BakeAddresses
from dayfly.domain.image import Firmware
from dayfly.images.apt_sources import Mirrors
from dayfly.images.bake import bake
from dayfly.images.progress import Report
from dayfly.settings import Settings
from tests.support.mirror.cloud_image import SUITE, cloud_image
from tests.support.mirror.file_server import FileServer, file_server
from tests.support.service import Service, docker

UPSTREAM: Final = "https://images.example.invalid/"
NAME: Final = "debian-12-genericcloud-amd64.qcow2"
FIRMWARE: Final[tuple[Firmware, ...]] = ("direct", "bios", "uefi")
KERNEL_ARGUMENTS: Final = (
    *("quiet", "loglevel=3", "net.ifnames=0", "random.trust_cpu=on", "audit=0", "apparmor=0"),
    *("rcupdate.rcu_expedited=1", "8250.nr_uarts=1", "rootflags=noatime,nodelalloc"),
)
"""As those of base/debian-12.yaml; and the options that Dayfly's own initrd mounts a root file system with."""
CONTROL_PLANE: Final = {"vcpus": 1, "memory_mib": 512, "disk_gib": 9}
"""A disk that is larger than the bake's: the node grows its file system."""


@dataclass(frozen=True)
class CloudMirror:
    """`root`: a provisioning/ with the bases test-cloud-FIRMWARE and recipes on them; `addresses` lead to `server`."""

    root: Path
    server: FileServer
    addresses: BakeAddresses


@asynccontextmanager
async def cloud_mirror(folder: Path) -> AsyncIterator[CloudMirror]:
    """A mirror of the suite's cloud image; `folder` is empty. Needs what cloud_image() needs."""
    async with cloud_image() as image:
        root = Path(shutil.copytree(assets.provisioning(), folder / "provisioning"))
        served = folder / "served"
        served.mkdir()
        (served / NAME).symlink_to(image.path.resolve())
        checksum = await asyncio.to_thread(_sha256, image.path)
        for firmware in FIRMWARE:
            _write_base(root, firmware, checksum)
            name = f"test-cloud-{firmware}"
            write_recipe(root, name, extends="bare", base=name, control_plane=CONTROL_PLANE)
        with file_server(served) as server:
            yield CloudMirror(root, server, BakeAddresses(downloads=((UPSTREAM, f"{server.url}/"),)))


def write_recipe(root: Path, name: str, **fields: Any) -> None:
    _write(root / "recipes" / f"{name}.yaml", {"name": name, "description": "a test's", **fields})


async def bake_recipe(recipe: str, mirror: CloudMirror, report: Report, addresses: BakeAddresses | None = None) -> str:
    """As `dayfly image bake`, but from the mirror's provisioning/."""
    settings = Settings()
    async with open_tools(settings) as tools:
        return await bake(
            recipe,
            images=tools.images,
            builder=tools.images,
            cache_dir=settings.cache_dir,
            report=report,
            verify=tools.verify,
            provisioning=mirror.root,
            mirrors=Mirrors(settings.debian_mirror, settings.debian_security_mirror),
            addresses=addresses or mirror.addresses,
            host=tools.machine_host,
        )


@contextmanager
def images_removed(*names: str) -> Iterator[None]:
    """Removes all images dayfly/NAME at the end of the block; the folders of the bakes' cache stay."""
    try:
        yield
    finally:
        for name in names:
            for reference in docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"dayfly/{name}").split():
                docker("image", "rm", "--force", reference)


def created(client: Client, recipe: str, *, workers: int = 0, seconds: float = 300) -> Cluster:
    return client.wait_ready(client.create(image=recipe, workers=workers).id, timeout_seconds=seconds)


def removed(client: Client, cluster: Cluster) -> None:
    client.delete(cluster.id)
    client.wait_deleted(cluster.id)


def assert_nothing_is_left(service: Service, recipe: str) -> None:
    """Nothing of the service's clusters, and of the bake neither a machine nor a half-made part."""
    deadline = time.monotonic() + 120
    while service.objects():
        assert time.monotonic() < deadline, service.objects()
        time.sleep(1)
    assert docker("ps", "--all", "--format", "{{.Names}}", "--filter", f"name=dayfly-verify-{recipe}") == ""
    assert ":unfinished" not in docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"dayfly/{recipe}")
    assert list(Settings().cache_dir.glob(f".new-{recipe}*")) == []


def _write_base(root: Path, firmware: Firmware, checksum: str) -> None:
    fields = {
        "kind": "cloud-image",
        "description": "the suite's cloud image",
        "url": f"{UPSTREAM}{NAME}",
        "checksum": checksum,
        "family": "apt",
        "suite": SUITE,
        "boot": firmware,
        "user": "debian",
        **({"kernel_arguments": list(KERNEL_ARGUMENTS)} if firmware == "direct" else {}),
    }
    _write(root / "base" / f"test-cloud-{firmware}.yaml", fields)


def _write(path: Path, fields: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(fields), sort_keys=False))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
