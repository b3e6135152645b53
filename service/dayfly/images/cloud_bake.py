"""The phases of a bake on a cloud image, between the toolbox and the node image.

    cloud image ── inspect ── firmware ── machine image ── node (booted, provisioned over SSH, cleaned, packed)

The machine image is the toolbox with the untouched cloud image: the container of the bake's machine runs it, and all
node images of that base share its layers. A node image adds the overlay that the bake wrote, and kernel and initrd.
Not here: the phases around these (bake.py), and their keys (cloud_plan.py).
"""

from __future__ import annotations

import filecmp
import json
import shutil
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from dayfly.clock import Clock
from dayfly.domain.bake_addresses import BakeAddresses
from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.domain.image import Boot, Firmware, ImageManifest
from dayfly.drivers.interfaces import ImageBuilder, ImageStore
from dayfly.images.apt import find_sources
from dayfly.images.apt_sources import Mirrors
from dayfly.images.cache import Cache
from dayfly.images.cloud.disk import BACKING, DISK, pack_disk, prepare_disk
from dayfly.images.cloud.fetch import fetch_image
from dayfly.images.cloud.inspect import Inspection, copy_kernel, inspect
from dayfly.images.cloud.machine import MachineHost, MachinePlan, bake_machine
from dayfly.images.cloud.machine_command import MachineSize
from dayfly.images.cloud.provision import Play, provision
from dayfly.images.cloud_plan import FIRMWARE_FILES, FIRMWARE_PACKAGE, phase_keys
from dayfly.images.container import TAG_LENGTH, remove_former
from dayfly.images.node_images import find_image
from dayfly.images.plan import BakePlan, CloudPart
from dayfly.images.play_inputs import play_inputs, write_inputs
from dayfly.images.process import run
from dayfly.images.progress import OnLine, Reporter
from dayfly.images.recipe import Recipe, RootFileSystem
from dayfly.images.rootfs import make_rootfs

LABEL_MACHINE: Final = "dayfly.machine"
"""On a machine image: its key."""
KERNEL_FILES: Final = ("vmlinuz", "initrd")
_INSPECTION: Final = "inspection.json"
_LEAST_MEMORY_MIB: Final = 1024
_LEAST_VCPUS: Final = 2

_Make = Callable[[Path, OnLine], Coroutine[None, None, None]]
Cached = Callable[[str, str, str, _Make], Awaitable[Path]]
"""Phase, cache's name, key, work → the folder of its result."""


class Build(Protocol):
    """Makes the image `reference` in the empty folder `scratch`; its content id."""

    async def __call__(self, *, scratch: Path, reference: str) -> str: ...


@dataclass(frozen=True)
class CloudBake:
    """The parts of a bake that these phases need. `toolbox` makes the toolbox; its image's id.

    `builder` makes the machine image, `labelling` the node image, which has a label with its contents.
    """

    plan: BakePlan
    host: MachineHost
    images: ImageStore
    builder: ImageBuilder
    labelling: ImageBuilder
    cache: Cache
    clock: Clock
    reporter: Reporter
    cached: Cached
    toolbox: Callable[[], Awaitable[str]]
    mirrors: Mirrors | None
    addresses: BakeAddresses

    @property
    def cloud(self) -> CloudPart:
        assert self.plan.cloud is not None  # noqa: S101 - the plan of such a bake
        return self.plan.cloud

    async def parts(self) -> tuple[ImageManifest, Build]:
        """The manifest of the node image, and the call that puts the image together.

        Raises the errors of images/cloud/: of a download, of an image that cannot be used, of the machine.
        """
        plan = self.plan
        image = await self._fetched()
        keys = phase_keys(self.cloud.keys, image.name)
        inspected = await self.cached("inspect", f"base-{plan.recipe.base}", keys.base, partial(self._inspect, image))
        found = json.loads((inspected / _INSPECTION).read_text())
        boot, firmware = Boot(**found["boot"]), found["firmware"]
        flash = await self._flash(keys.firmware) if "uefi" in {boot.firmware, firmware} else None
        machine = await self._machine_image(keys.machine, inspected, image, flash)
        folder = await self.cached(
            "node",
            f"{plan.recipe.name}.node",
            keys.node,
            partial(self._node, image, inspected, machine, boot, firmware),
        )
        manifest = plan.recipe.manifest(self.cloud.base, plan.keys.image).model_copy(update={"boot": boot})
        return manifest, partial(self._build, machine, inspected, folder, manifest)

    async def _fetched(self) -> Path:
        base = self.cloud.base
        # From the settings' mirror, if they name one; the checksum is the base's in any case.
        signed = base.signed_checksums
        if signed is not None:
            signature = None if signed.signature is None else self.addresses.download(signed.signature)
            signed = signed.model_copy(update={"url": self.addresses.download(signed.url), "signature": signature})
        mirrored = base.model_copy(update={"url": self.addresses.download(base.url), "signed_checksums": signed})
        async with self.reporter.phase("cloud image") as on_line:
            return await fetch_image(
                mirrored, root=self.plan.root, cache_dir=self.cache.root, clock=self.clock, on_line=on_line
            )

    async def _inspect(self, image: Path, folder: Path, on_line: OnLine) -> None:
        """Fill `folder` with what the image has: its boot loaders, its kernel where that can be read."""
        async with self.cache.scratch() as scratch:
            found = await inspect(image, scratch)
            boot = found.boot(self.cloud.base.boot)
            if found.kernel is not None:
                await copy_kernel(found, folder)
        described = {"boot": boot.model_dump(), "firmware": _first_boot(boot, found)}
        (folder / _INSPECTION).write_text(json.dumps(described))
        on_line(f"nodes boot: {boot.firmware}")

    async def _flash(self, key: str) -> Path:
        """The folder of UEFI's program and its pristine variables."""
        toolbox = self.plan.toolbox
        what = RootFileSystem(
            suite=toolbox.suite, packages=(FIRMWARE_PACKAGE,), backports=(*toolbox.backports, FIRMWARE_PACKAGE)
        )

        async def make(folder: Path, on_line: OnLine) -> None:
            rootfs = folder / "rootfs"
            await make_rootfs(what, rootfs, mirrors=self.mirrors, on_line=on_line)
            for name, file in FIRMWARE_FILES.items():
                shutil.copyfile(rootfs / "usr/share/OVMF" / file, folder / name)
            shutil.rmtree(rootfs)

        return await self.cached("firmware", "uefi", key, make)

    async def _machine_image(self, key: str, inspected: Path, image: Path, flash: Path | None) -> str:
        """The id of the machine image."""
        repository = f"dayfly/machine-{self.plan.recipe.base}"
        reference = f"{repository}:{key[:TAG_LENGTH]}"
        toolbox = await self.toolbox()
        waiting = partial(self.reporter.waiting, "machine image")
        async with self.cache.alone(f"machine-{self.plan.recipe.base}.image", waiting):
            if (existing := await find_image(self.images, reference)) is not None:
                self.reporter.cached("machine image", f"{reference} is on the engine")
                return existing
            async with self.reporter.phase("machine image"), self.cache.scratch() as scratch:
                place = scratch / "dayfly"
                place.mkdir()
                (place / BACKING).hardlink_to(image)
                for source in (inspected, flash):
                    for name in (*KERNEL_FILES, *FIRMWARE_FILES):
                        if source is not None and (source / name).exists():
                            (place / name).hardlink_to(source / name)
                image_id = await self.builder.add_files(toolbox, scratch, reference, labels={LABEL_MACHINE: key})
            await remove_former(self.images, repository, label=LABEL_MACHINE, current=image_id)
        return image_id

    async def _node(
        self,
        image: Path,
        inspected: Path,
        machine: str,
        boot: Boot,
        firmware: Firmware,
        folder: Path,
        on_line: OnLine,
    ) -> None:
        """Fill `folder` with the overlay of the node's disk, and with its kernel where that can be read."""
        recipe = self.plan.recipe
        size = MachineSize(
            max(recipe.control_plane.vcpus, _LEAST_VCPUS), max(recipe.control_plane.memory_mib, _LEAST_MEMORY_MIB)
        )
        disk = await prepare_disk(image, folder, disk_gib=recipe.disk_gib)
        has_kernel = (inspected / KERNEL_FILES[0]).exists()
        plan = MachinePlan(recipe.name, machine, disk, size, firmware, boot, has_kernel)
        # Outside of `folder`, which stays in the cache: keys, and the inputs of the play, which may have logins.
        async with self.cache.scratch() as scratch:
            play = await self._play(scratch)
            async with bake_machine(plan, self.host, scratch, on_line) as booted:
                await provision(booted, play, on_line)
                await booted.copy_disk(folder)
        on_line("packing the disk")
        await pack_disk(folder)
        if has_kernel:
            await self._kernel(folder, on_line)
        (folder / BACKING).unlink()

    async def _kernel(self, folder: Path, on_line: OnLine) -> None:
        """Copy the kernel that the disk has now, which the play may have replaced."""
        on_line("reading the kernel")
        async with self.cache.scratch() as scratch:
            whole = scratch / "whole.raw"
            await run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", DISK, whole], folder=folder)
            inspected = scratch / "inspected"
            inspected.mkdir()
            await copy_kernel(await inspect(whole, inspected), folder)

    async def _play(self, scratch: Path) -> Play:
        recipe, base = self.plan.recipe, self.cloud.base
        lines, options = "", tuple[str, ...]()
        if base.suite is not None:
            sources = await find_sources(base.suite, mirrors=self.mirrors)
            lines, options = sources.lines(), sources.options
        inputs = await play_inputs(recipe, self.addresses, apt_sources=lines, apt_options=options)
        read: Recipe = write_inputs(recipe, inputs, scratch)
        return Play(read, base, self.plan.root, mirrored=bool(inputs["apt_sources"]))

    async def _build(
        self, machine: str, inspected: Path, node: Path, manifest: ImageManifest, *, scratch: Path, reference: str
    ) -> str:
        place = scratch / "dayfly"
        place.mkdir()
        (place / DISK).hardlink_to(node / DISK)
        for name in KERNEL_FILES:
            if (node / name).exists() and not filecmp.cmp(node / name, inspected / name, shallow=False):
                (place / name).hardlink_to(node / name)
        return await self.labelling.add_files(
            machine, scratch, reference, labels={LABEL_IMAGE: manifest.model_dump_json()}
        )


def _first_boot(boot: Boot, found: Inspection) -> Firmware:
    """How the cloud image itself boots: by its own boot loader where it has one."""
    if boot.firmware != "direct":
        return boot.firmware
    return "bios" if found.has_bios_loader else "uefi" if found.has_uefi_loader else "direct"
