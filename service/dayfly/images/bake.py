"""Bakes a node image from a recipe: the phases, their dependencies, and the tags. Not here: the work of a phase.

    toolbox ─────────────────────────────┐
    base ──────┬── node ── disk ── image ┴── verify ── tag
    artifacts ─┘

A bake on a cloud image has other phases for base, node and disk (cloud_bake.py).
A layer has the phases below, artifacts, layer, image and verify: `below` is the bake of the image that it is from.
Every phase but the last two is cached by content (cache.py). A bake builds under a temporary tag; an image gets its
name after its verification, so every named image works.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from dayfly import assets
from dayfly.clock import Clock, SystemClock
from dayfly.concurrency import unwrap_exception_group
from dayfly.domain.bake import verification_spec
from dayfly.domain.bake_addresses import BakeAddresses
from dayfly.domain.image import ImageContents, ImageManifest
from dayfly.domain.scheduling.resources import Resources, demand
from dayfly.drivers.interfaces import ImageBuilder, ImageStore
from dayfly.errors import BakeFailed
from dayfly.images.apt import find_sources
from dayfly.images.apt_sources import Mirrors
from dayfly.images.artifacts import make_artifact
from dayfly.images.cache import Cache
from dayfly.images.cloud.machine import MachineHost
from dayfly.images.cloud.tools import check_tools
from dayfly.images.cloud_bake import Build, CloudBake
from dayfly.images.container import LABEL_TOOLBOX, TAG_LENGTH, build_image, remove_former
from dayfly.images.contents import LabellingBuilder, installed_packages, read_packages
from dayfly.images.disk import make_disk
from dayfly.images.former import remove_former_images
from dayfly.images.host import check_host
from dayfly.images.layer_bake import LAYER_DISK, PACKAGES, make_layer
from dayfly.images.layer_image import build_layer_image, layer_manifest
from dayfly.images.layer_recipe import BaseImage
from dayfly.images.node import make_node
from dayfly.images.node_images import ensure_image, find_image, resolve_image
from dayfly.images.plan import BakePlan, make_plan
from dayfly.images.play_inputs import check_addresses, needs_inputs, play_inputs, write_inputs
from dayfly.images.progress import Report, Reporter
from dayfly.images.recipe import Recipe, RootFileSystem
from dayfly.images.rootfs import OnLine, make_rootfs

_UNTAG_LIMIT_SECONDS: Final = 60.0


Verify = Callable[[str, ImageManifest, OnLine], Awaitable[None]]
"""Creates a cluster of the image with this id and runs its manifest's `verify` commands; raises a DayflyError.

It reports one line for each action.
"""
AskForRoom = Callable[[Resources], Awaitable[None]]
"""Waits until the host has these resources for the cluster of the verification, and reserves them."""
_CONFORMANCE_LIMIT_SECONDS: Final = 14 * 3600.0
"""Of a verification with a conformance list, whose step has a limit of its own (domain/cluster/timeouts.py)."""


async def bake(
    recipe: str | Recipe,
    *,
    images: ImageStore,
    builder: ImageBuilder,
    cache_dir: Path,
    report: Report,
    verify: Verify,
    clock: Clock | None = None,
    provisioning: Path | None = None,
    mirrors: Mirrors | None = None,
    addresses: BakeAddresses | None = None,
    takes_name: bool = True,
    conformance: Collection[str] | None = None,
    room: AskForRoom | None = None,
    state: str = "",
    host: MachineHost | None = None,
) -> str:
    """Bake the recipe and tag it `dayfly/<recipe>:latest` and `dayfly/<recipe>:<digest>`; the image's content id.

    `takes_name`: False leaves the tag `latest`, and so the name, to another image. `conformance`: the list that
    `verify` runs, if any: an image that exists is verified as well. `room`: awaited before a verification.
    `state`: of a rebuild, which takes nothing from the cache that an earlier state gave (plan.py).
    `provisioning` is the folder of recipes and roles; None: this installation's. `mirrors` and `addresses` are those
    of the settings. `host`: where the machine of a bake on a cloud image runs.
    Needs root, unless the image exists already.
    Raises NotFound and InvalidRequest for the recipe, BakeFailed (with the phase in its message, the last lines as
    evidence), DiskFull, EngineUnavailable, and as `verify`. A cancelled or failed bake leaves no image, no mount and no
    process behind; complete phases stay in the cache.
    """
    plan = make_plan(recipe, provisioning or assets.provisioning(), state=state)
    addresses = addresses or BakeAddresses()
    # A layer bakes the recipes below it, too.
    below: BakePlan | None = plan
    while below is not None:
        check_addresses(below.recipe, addresses)
        below = below.below
    clock = clock or SystemClock()
    async with Cache(cache_dir, clock) as cache:
        job = _Bake(
            plan,
            images,
            builder,
            cache,
            clock,
            Reporter(report, clock),
            verify,
            mirrors,
            addresses,
            takes_name,
            conformance,
            room,
            host,
        )
        return await job.run()


def unfinished_image(recipe_name: str) -> str:
    """The reference of an image that is being made or verified."""
    return f"dayfly/{recipe_name}:unfinished"


def image_lock(recipe_name: str) -> str:
    """The name of the lock that the holder of a recipe's unfinished image has (Cache.alone)."""
    return f"{recipe_name}.image"


async def is_baked(recipe_name: str, images: ImageStore) -> bool:
    """Whether the engine has the image that a bake of the recipe would give. Raises NotFound, InvalidRequest."""
    plan = make_plan(recipe_name, assets.provisioning())
    return await find_image(images, _final(plan)) is not None


@dataclass(frozen=True)
class _Parts:
    """The parts of an image are made: its manifest, and the call that puts them together."""

    manifest: ImageManifest
    build: Build


@dataclass(frozen=True)
class _Bake:
    plan: BakePlan
    images: ImageStore
    builder: ImageBuilder
    cache: Cache
    clock: Clock
    reporter: Reporter
    verify: Verify
    mirrors: Mirrors | None
    addresses: BakeAddresses
    takes_name: bool
    conformance: Collection[str] | None
    room: AskForRoom | None
    host: MachineHost | None

    async def run(self) -> str:
        repository = f"dayfly/{self.plan.recipe.name}"
        final = _final(self.plan)
        unfinished = unfinished_image(self.plan.recipe.name)
        # One bake at a time for a recipe: so an unfinished image is left from a killed bake.
        waited = False

        def wait() -> None:
            nonlocal waited
            waited = True
            self.reporter.waiting("image", "another bake of this recipe runs")

        async with self.cache.alone(image_lock(self.plan.recipe.name), wait):
            if (image_id := await find_image(self.images, final)) is not None:
                self.reporter.cached("image", f"{final} exists and is verified")
                if self.conformance is not None:
                    await self._verify(*await resolve_image(self.images, image_id))
            else:
                check_host()
                if waited:
                    # The other bake failed, or was of another state of the recipe.
                    self.reporter.waiting("image", "the phases before it run")
                parts = await self._made()
                image_id = await self._verified(unfinished, parts)
                await self.images.tag(image_id, final)
                await self.images.remove(unfinished)
            if self.takes_name:
                await self.images.tag(image_id, f"{repository}:latest")
            await remove_former_images(self.images, repository, current=image_id)
        return image_id

    async def _made(self) -> _Parts:
        if self.plan.cloud is not None:
            return await self._cloud_parts()
        return await (self._parts() if self.plan.recipe.layer is None else self._layer_parts())

    async def _cloud_parts(self) -> _Parts:
        """The machine image of the base, and the folder of the node's overlay and kernel."""
        check_tools()
        if self.host is None:
            raise BakeFailed("a bake on a cloud image boots a machine, and this program has no engine for one")
        work = CloudBake(
            self.plan,
            self.host,
            self.images,
            self.builder,
            self._labelling(None),
            self.cache,
            self.clock,
            self.reporter,
            self._cached,
            self._toolbox,
            self.mirrors,
            self.addresses,
        )
        return _Parts(*await work.parts())

    async def _parts(self) -> _Parts:
        """The toolbox image, and the folder of the node's disk, kernel and initrd."""
        async with unwrap_exception_group(), asyncio.TaskGroup() as group:
            toolbox = group.create_task(self._toolbox())
            base = group.create_task(self._base())
            disk = group.create_task(self._disk(base, self._artifacts(group)))
        manifest = self.plan.recipe.manifest(self.plan.base, self.plan.keys.image)
        made, packages = disk.result()
        builder = self._labelling(packages)
        build = partial(build_image, builder, toolbox=toolbox.result(), disk=made, manifest=manifest)
        return _Parts(manifest, build)

    async def _layer_parts(self) -> _Parts:
        """The image below, which is baked or pulled if it is missing, and the disk that the layer adds."""
        plan, keys = self.plan, self.plan.keys
        async with unwrap_exception_group(), asyncio.TaskGroup() as group:
            image = group.create_task(self._below())
            artifacts = self._artifacts(group)
        below, below_manifest = image.result()
        manifest = layer_manifest(plan.recipe, plan.addons, below_manifest, keys.image)
        built = {name: task.result() for name, task in artifacts.items()}

        async def make(folder: Path, on_line: OnLine) -> None:
            await make_layer(
                plan, below, below_manifest.disk, folder, self.builder, built, mirrors=self.mirrors, on_line=on_line
            )

        # Of this very image: another bake of the same recipe has another disk.
        key = hashlib.sha256(f"{keys.disk} {below}".encode()).hexdigest()
        folder = await self._cached("layer", plan.recipe.cache_name("layer"), key, make)
        disk, builder = folder / LAYER_DISK, self._labelling(read_packages(folder / PACKAGES))
        return _Parts(manifest, partial(build_layer_image, builder, below=below, disk=disk, manifest=manifest))

    def _labelling(self, packages: dict[str, str] | None) -> ImageBuilder:
        plan = self.plan
        contents = ImageContents(
            digest=plan.keys.image,
            base=plan.recipe.base,
            packages=packages,
            inputs=plan.inputs,
            state=plan.state,
            variant=not (self.takes_name or plan.state),
        )
        return LabellingBuilder(self.builder, contents)

    async def _below(self) -> tuple[str, ImageManifest]:
        """The id and the manifest of the image that the layer is from."""
        plan, layer = self.plan, self.plan.recipe.layer
        if plan.below is not None:
            reporter = self.reporter.within(plan.below.recipe.name)
            inner = replace(self, plan=plan.below, reporter=reporter, takes_name=True, conformance=None)
            return await resolve_image(self.images, await inner.run())
        assert layer is not None  # noqa: S101 - a layer's plan
        assert isinstance(layer.below, BaseImage)  # noqa: S101
        async with self.reporter.phase("below") as on_line:
            return await ensure_image(self.images, layer.below.image, lambda progress: on_line(progress.status))

    def _artifacts(self, group: asyncio.TaskGroup) -> dict[str, asyncio.Task[Path]]:
        artifacts: dict[str, asyncio.Task[Path]] = {}
        for name in self.plan.keys.artifacts:  # Each artifact comes after its needs.
            needs = {need: artifacts[need] for need in self.plan.recipe.artifacts[name].needs}
            artifacts[name] = group.create_task(self._artifact(name, needs))
        return artifacts

    async def _verified(self, reference: str, parts: _Parts) -> str:
        """Build and verify the image as `reference`; its id. On failure `reference` is removed."""
        await self.images.remove(reference)
        try:
            async with self.reporter.phase("image"), self.cache.scratch() as scratch:
                image_id = await parts.build(scratch=scratch, reference=reference)
            await self._verify(image_id, parts.manifest)
        except BaseException:
            async with asyncio.timeout(_UNTAG_LIMIT_SECONDS):
                await self.images.remove(reference)
            raise
        return image_id

    async def _verify(self, image_id: str, manifest: ImageManifest) -> None:
        if self.room is not None:
            await self.room(demand(verification_spec(image_id, manifest)))
        limit = {} if self.conformance is None else {"limit_seconds": _CONFORMANCE_LIMIT_SECONDS}
        async with self.reporter.phase("verify", **limit) as on_line:
            await self.verify(image_id, manifest, on_line)

    async def _toolbox(self) -> str:
        key = self.plan.keys.toolbox
        reference = f"dayfly/toolbox:{key[:TAG_LENGTH]}"

        async def make(folder: Path, on_line: OnLine) -> None:
            tar = folder / "rootfs.tar"
            hook = self.plan.root / "toolbox" / "trim"
            await make_rootfs(self.plan.toolbox, tar, hook=hook, mirrors=self.mirrors, on_line=on_line)

        async with self.cache.alone("toolbox.image", partial(self.reporter.waiting, "toolbox")):
            if (existing := await find_image(self.images, reference)) is not None:
                self.reporter.cached("toolbox", f"{reference} is on the engine")
                return existing
            folder = await self._cached("toolbox", "toolbox", key, make)
            async with self.reporter.phase("import"):
                changes = ('CMD ["/bin/sh"]', f"LABEL {LABEL_TOOLBOX}={key}")
                image_id = await self.builder.import_rootfs(folder / "rootfs.tar", reference, changes=changes)
            await remove_former(self.images, "dayfly/toolbox", label=LABEL_TOOLBOX, current=image_id)
            return image_id

    async def _base(self) -> Path:
        base, recipe = self.plan.base, self.plan.recipe
        packages = tuple(sorted({*base.packages, *recipe.packages, base.kernel}))
        what = RootFileSystem(suite=base.suite, packages=packages, backports=base.backports)

        async def make(folder: Path, on_line: OnLine) -> None:
            hook = self.plan.root / "base" / "trim"
            await make_rootfs(what, folder / "rootfs", hook=hook, mirrors=self.mirrors, on_line=on_line)

        return await self._cached("base", recipe.cache_name("base"), self.plan.keys.base, make) / "rootfs"

    async def _artifact(self, name: str, needs: Mapping[str, asyncio.Task[Path]]) -> Path:
        built = {need: await task for need, task in needs.items()}
        recipe, plan = self.plan.recipe, self.plan

        async def make(folder: Path, on_line: OnLine) -> None:
            await make_artifact(
                plan.base.suite,
                recipe.artifacts[name],
                folder,
                root=plan.root,
                needs=built,
                mirrors=self.mirrors,
                on_line=on_line,
            )

        entry = recipe.cache_name(name)
        return await self._cached(f"artifact {name}", entry, plan.keys.artifacts[name], make) / "out"

    async def _disk(
        self, base: asyncio.Task[Path], artifacts: Mapping[str, asyncio.Task[Path]]
    ) -> tuple[Path, dict[str, str] | None]:
        """The folder of the disk, kernel and initrd, and the packages on the disk."""
        plan, recipe = self.plan, self.plan.recipe
        rootfs = await base
        built = {name: await task for name, task in artifacts.items()}

        async def node(folder: Path, on_line: OnLine) -> None:
            # Outside of `folder`, which stays in the cache: the inputs of the play may have logins.
            async with self.cache.scratch() as scratch:
                played = await self._with_inputs(recipe, scratch)
                await make_node(played, folder, root=plan.root, base=rootfs, artifacts=built, on_line=on_line)

        async def disk(folder: Path, on_line: OnLine) -> None:
            await make_disk(made / "rootfs", folder, root=plan.root, disk_gib=recipe.disk_gib, on_line=on_line)

        made = await self._cached("node", recipe.cache_name("node"), plan.keys.node, node)
        folder = await self._cached("disk", recipe.cache_name("disk"), plan.keys.disk, disk)
        return folder, await asyncio.to_thread(installed_packages, made / "rootfs")

    async def _with_inputs(self, recipe: Recipe, scratch: Path) -> Recipe:
        """The recipe with the file that its play reads, if it reads one."""
        if not needs_inputs(recipe):
            return recipe
        sources = await find_sources(self.plan.base.suite, mirrors=self.mirrors)
        inputs = await play_inputs(recipe, self.addresses, apt_sources=sources.lines(), apt_options=sources.options)
        return write_inputs(recipe, inputs, scratch)

    async def _cached(
        self, phase: str, name: str, key: str, make: Callable[[Path, OnLine], Coroutine[None, None, None]]
    ) -> Path:
        if self.cache.has(name, key):
            self.reporter.cached(phase)

        async def reported(folder: Path) -> None:
            async with self.reporter.phase(phase) as on_line:
                await make(folder, on_line)

        return await self.cache.get(name, key, reported, on_wait=partial(self.reporter.waiting, phase))


def _final(plan: BakePlan) -> str:
    return f"dayfly/{plan.recipe.name}:{plan.keys.image[:TAG_LENGTH]}"
