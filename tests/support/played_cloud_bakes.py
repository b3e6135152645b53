"""A bake on a cloud image without a machine: real files and tools, a played engine, guest and play.

The image is a small disk with partitions that does not boot. Not here: real machines (cloud_bakes.py).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from dayfly import assets
from dayfly.domain.bake_addresses import BakeAddresses
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.domain.cluster.topology import Publication
from dayfly.domain.image import ImageManifest
from dayfly.drivers.interfaces import CommandResult, SshTarget
from dayfly.images import bake as bake_module
from dayfly.images import cloud_bake
from dayfly.images.apt import Sources
from dayfly.images.cloud import provision
from dayfly.images.cloud.machine import MachineHost
from dayfly.images.progress import OnLine, Progress
from dayfly.testing.fakes import FakeEngine, FakeImages, FakeSsh
from tests.support.clock import FakeClock
from tests.support.cloud_bases import fields, sha256
from tests.support.disk_images import DiskImage

MACHINE = "dayfly-verify-lab-bake"


class Kitchen:
    """`lab` is a recipe on the cloud image `cloud`. Tests change what the guest does with `ssh` and `play`."""

    def __init__(self, folder: Path, image: DiskImage, boot: str) -> None:
        self.cache = folder / "cache"
        self.root = own_provisioning(folder / "provisioning")
        self.image = image.make(folder / "upstream")
        self.images, self.engine, self.ssh = FakeImages(), FakeEngine(), FakeSsh()
        self.progress: list[Progress] = []
        self.plays: list[tuple[list[str], dict[str, Any]]] = []
        self.fail: dict[str, BaseException] = {}
        """`play` or `verify` → its error."""
        self.hang = ""
        self.hanging = asyncio.Event()
        self.made: list[str] = []
        self.probed: list[str] = []
        self.addresses: BakeAddresses | None = None
        self.write_base(boot=boot)
        self.write_recipe()
        self.ssh.on("poweroff", self._power_off)

    def write_base(self, **changes: Any) -> None:
        base = fields(url=self.image.as_uri(), checksum=sha256(self.image.read_bytes()), **changes)
        (self.root / "base" / "cloud.yaml").write_text(yaml.safe_dump(base))

    def write_recipe(self, **changes: Any) -> None:
        recipe = {
            "name": "lab",
            "extends": "bare",
            "description": "a test's",
            "base": "cloud",
            "disk_gib": 1,
            **changes,
        }
        (self.root / "recipes" / "lab.yaml").write_text(yaml.safe_dump(recipe))

    async def bake(self) -> str:
        return await bake_module.bake(
            "lab",
            images=self.images,
            builder=self.images,
            cache_dir=self.cache,
            report=self.progress.append,
            verify=self._verify,
            clock=FakeClock(),
            provisioning=self.root,
            addresses=self.addresses,
            host=MachineHost(self.engine, self.ssh, self._accelerator, "default", Publication()),
        )

    async def manifest(self) -> ImageManifest:
        labels = (await self.images.inspect("dayfly/lab:latest")).labels
        return ImageManifest.model_validate_json(labels["dayfly.image"])

    async def files(self, reference: str = "dayfly/lab:latest") -> Mapping[str, bytes]:
        return self.images.files[(await self.images.inspect(reference)).id]

    def states(self, phase: str) -> list[str]:
        return [one.state for one in self.progress if one.phase == phase]

    def assert_nothing_left(self) -> None:
        assert self.engine.containers == {}
        assert not list(self.cache.glob(".new-*")), "nothing half-made may stay"
        references = {name for one in self.images.stored.values() for name in one.references}
        assert not any("unfinished" in name for name in references)

    async def rootfs(self, what: Any, target: Path, **_: Any) -> None:
        is_toolbox = target.suffix == ".tar"
        self.made.append("toolbox" if is_toolbox else " ".join(what.packages))
        names = [""] if is_toolbox else [f"usr/share/OVMF/{name}" for name in ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")]
        for name in names:
            write(target / name, Path(name).name)

    async def run_plays(self, target: SshTarget, plays: Sequence[Path], variables: Any, **_: Any) -> None:
        if "play" in self.fail:
            raise self.fail.pop("play")
        if self.hang == "play":
            self.hanging.set()
            await asyncio.Event().wait()
        self.plays.append(([path.name for path in plays], dict(variables)))

    def _power_off(self, target: SshTarget, command: str, stdin: bytes) -> CommandResult:
        self.engine.exit(MACHINE, 0)
        return CommandResult(0, "", "")

    async def _accelerator(self, image: str) -> Accelerator:
        self.probed.append(image)
        return "kvm"

    async def _verify(self, image_id: str, manifest: ImageManifest, progress: OnLine) -> None:
        assert self.engine.containers == {}, "the machine of the bake is gone before another starts"
        if "verify" in self.fail:
            raise self.fail.pop("verify")


def own_provisioning(root: Path) -> Path:
    """A provisioning/ with bases and recipes of its own. All else is the installation's: a copy takes seconds."""
    root.mkdir()
    for path in assets.provisioning().iterdir():
        if path.name in {"base", "recipes"}:
            shutil.copytree(path, root / path.name)
        else:
            (root / path.name).symlink_to(path)
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


async def no_sources(*_: Any, **__: Any) -> Sources:
    raise AssertionError("the base names no suite")


def make_kitchen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, image: DiskImage | None = None, boot: str = "direct"
) -> Kitchen:
    kitchen = Kitchen(folder, image or DiskImage(), boot)
    monkeypatch.setattr(bake_module, "make_rootfs", kitchen.rootfs)
    monkeypatch.setattr(cloud_bake, "make_rootfs", kitchen.rootfs)
    monkeypatch.setattr(cloud_bake, "find_sources", no_sources)
    monkeypatch.setattr(bake_module, "check_host", lambda: None)
    monkeypatch.setattr(provision, "run_plays", kitchen.run_plays)
    return kitchen
