"""A layer's bake as a whole, with instant phases: the image below, names, manifests, and what a change makes anew."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dayfly import assets
from dayfly.domain.bake_addresses import BakeAddresses
from dayfly.domain.cluster.naming import LABEL_CONTENTS, LABEL_IMAGE
from dayfly.domain.image import ImageContents, ImageManifest, read_contents
from dayfly.errors import BakeFailed, ImageBroken, ImageMissing, InvalidRequest, NotANodeImage
from dayfly.images import bake as module
from dayfly.images import layer_bake
from dayfly.images.disk import FILES
from dayfly.images.plan import make_plan
from dayfly.images.progress import OnLine, Progress
from dayfly.testing.fakes import FakeImages
from tests.support.clock import FakeClock

REGISTRY = f"lab:5000/dayfly/bare@sha256:{'0' * 64}"
SIZE = {"vcpus": 1, "memory_mib": 512, "disk_gib": 8}


class Kitchen:
    """Phases that only write marks. The layer's disk has the name of the disk below."""

    def __init__(self, folder: Path) -> None:
        self.root = Path(shutil.copytree(assets.provisioning(), folder / "provisioning"))
        self.cache = folder / "cache"
        self.images = FakeImages()
        self.made: list[str] = []
        self.progress: list[Progress] = []
        self.verified: list[tuple[str, ImageManifest]] = []
        self.fail: dict[str, BaseException] = {}
        self.bakes = 0
        self.addresses = BakeAddresses()

    def write(self, name: str, **fields: object) -> None:
        text = yaml.safe_dump({"name": name, "description": "for a test", **fields})
        (self.root / "recipes" / f"{name}.yaml").write_text(text)

    async def bake(self, name: str) -> str:
        return await module.bake(
            name,
            images=self.images,
            builder=self.images,
            cache_dir=self.cache,
            report=self.progress.append,
            verify=self.verify,
            clock=FakeClock(),
            provisioning=self.root,
            addresses=self.addresses,
        )

    async def manifest(self, reference: str) -> ImageManifest:
        label = (await self.images.inspect(reference)).labels[LABEL_IMAGE]
        return ImageManifest.model_validate_json(label)

    async def verify(self, image_id: str, manifest: ImageManifest, progress: OnLine) -> None:
        await self.step(f"verify {manifest.recipe}")
        self.verified.append((image_id, manifest))

    async def rootfs(self, what: object, target: Path, **_: Any) -> None:
        await self.step("toolbox" if target.suffix == ".tar" else "base")
        fill(target, "" if target.suffix == ".tar" else None)

    async def node(self, recipe: object, target: Path, **_: Any) -> None:
        await self.step("node")
        (target / "rootfs").mkdir()

    async def disk(self, rootfs: Path, target: Path, **_: Any) -> None:
        await self.step("disk")
        self.bakes += 1
        for name in FILES:
            (target / name).write_text(f"{name} of bake {self.bakes}")

    async def extract(self, disk: Path, target: Path, **_: Any) -> Path:
        await self.step(f"extract {content(disk)}")
        return target / "rootfs"

    async def layer_rootfs(self, recipe: object, below: Path, target: Path, **_: Any) -> Path:
        await self.step("layer")
        status = target / "rootfs/var/lib/dpkg/status"
        status.parent.mkdir(parents=True)
        status.write_text("Package: jq\nStatus: install ok installed\nVersion: 1.6\n")
        return target / "rootfs"

    async def layer_disk(self, below: Path, extracted: Path, rootfs: Path, target: Path, *, work: Path) -> None:
        fill(target, f"over {below.name}")

    async def step(self, name: str) -> None:
        await asyncio.sleep(0)
        if name in self.fail:
            raise self.fail.pop(name)
        self.made.append(name)


def fill(path: Path, text: str | None) -> None:
    """A file with `text`; None: a folder."""
    path.mkdir() if text is None else path.write_text(text)


def content(path: Path) -> str:
    return path.read_text()


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kitchen]:
    kitchen = Kitchen(tmp_path)
    kitchen.write(
        "one", **{"from": "bare", "packages": ["jq"], "kernel_arguments": ["x=1"], "verify": ["jq --version"]}
    )
    kitchen.write("two", **{"from": "one", "worker": {"memory_mib": 768}})
    monkeypatch.setattr(module, "make_rootfs", kitchen.rootfs)
    monkeypatch.setattr(module, "make_node", kitchen.node)
    monkeypatch.setattr(module, "make_disk", kitchen.disk)
    monkeypatch.setattr(module, "check_host", lambda: None)
    monkeypatch.setattr(layer_bake, "extract", kitchen.extract)
    monkeypatch.setattr(layer_bake, "make_layer_rootfs", kitchen.layer_rootfs)
    monkeypatch.setattr(layer_bake, "make_layer_disk", kitchen.layer_disk)
    yield kitchen
    assert not list(kitchen.cache.glob(".new-*")), "nothing half-made may stay"
    references = {name for image in kitchen.images.stored.values() for name in image.references}
    assert not any("unfinished" in name for name in references)


async def test_a_layer_is_the_image_below_and_one_more_file(kitchen: Kitchen) -> None:
    layer = await kitchen.bake("two")
    one, bare = [await kitchen.images.inspect(f"dayfly/{name}:latest") for name in ("one", "bare")]
    keys = {name: make_plan(name, kitchen.root).keys.image for name in ("bare", "one", "two")}
    files = kitchen.images.files
    assert files[layer] == files[one.id] | {
        f"/dayfly/{keys['two'][:12]}.qcow2": f"over {keys['one'][:12]}.qcow2".encode()
    }
    assert files[one.id] == files[bare.id] | {f"/dayfly/{keys['one'][:12]}.qcow2": b"over disk.qcow2"}
    manifest, below = await kitchen.manifest(layer), await kitchen.manifest("dayfly/bare:latest")
    assert manifest.disk == f"/dayfly/{keys['two'][:12]}.qcow2"
    assert (manifest.kernel, manifest.initrd) == (below.kernel, below.initrd)
    assert (manifest.digest, manifest.parents) == (keys["two"], (keys["one"], keys["bare"]))
    assert (manifest.recipe, manifest.parent_recipes) == ("two", ("one", "bare"))
    assert manifest.kernel_arguments == (*below.kernel_arguments, "x=1")
    assert manifest.verify == (*below.verify, "jq --version")
    assert manifest.worker == below.worker.model_copy(update={"memory_mib": 768})
    assert [one.recipe for _, one in kitchen.verified] == ["bare", "one", "two"]
    assert "parents" not in below.model_dump()
    label = (await kitchen.images.inspect(layer)).labels[LABEL_CONTENTS]
    assert read_contents(label, manifest) == ImageContents(
        digest=keys["two"], base="debian-12", packages={"jq": "1.6"}, inputs=keys["two"]
    )


async def test_every_image_below_gets_its_names_and_reports_its_phases(kitchen: Kitchen) -> None:
    await kitchen.bake("two")
    for name in ("bare", "one", "two"):
        digest = make_plan(name, kitchen.root).keys.image[:12]
        assert (await kitchen.images.inspect(f"dayfly/{name}:{digest}")).id
    phases = {progress.phase for progress in kitchen.progress}
    assert {"layer", "verify", "one: layer", "one: bare: disk", "one: bare: verify"} <= phases


async def test_a_layer_that_is_there_needs_no_image_below(kitchen: Kitchen) -> None:
    layer = await kitchen.bake("one")
    kitchen.made.clear()
    for name in ("latest", make_plan("bare", kitchen.root).keys.image[:12]):
        await kitchen.images.remove(f"dayfly/bare:{name}")
    assert await kitchen.bake("one") == layer
    assert kitchen.made == []


async def test_a_change_of_a_layer_bakes_nothing_below_it_anew(kitchen: Kitchen) -> None:
    await kitchen.bake("one")
    kitchen.made.clear()
    kitchen.write("one", **{"from": "bare", "packages": ["jq", "tree"]})
    await kitchen.bake("one")
    assert kitchen.made == ["extract disk.qcow2 of bake 1", "layer", "verify one"]


async def test_a_layers_disk_is_that_of_the_image_below_and_of_no_other_bake(kitchen: Kitchen) -> None:
    await kitchen.bake("one")
    for image in list(kitchen.images.stored):
        await kitchen.images.remove(image)
    shutil.rmtree(kitchen.cache)
    (kitchen.root / "toolbox" / "net").write_text("#!/bin/sh\n# changed: the container of `bare`, and not its disk\n")
    kitchen.made.clear()
    await kitchen.bake("one")
    assert "extract disk.qcow2 of bake 2" in kitchen.made


async def test_a_layer_that_fails_leaves_the_image_below_with_its_names(kitchen: Kitchen) -> None:
    kitchen.fail["layer"] = BakeFailed("apt-get ended with exit code 100")
    with pytest.raises(BakeFailed, match="phase layer: apt-get ended"):
        await kitchen.bake("one")
    assert (await kitchen.images.inspect("dayfly/bare:latest")).id
    with pytest.raises(ImageMissing):
        await kitchen.images.inspect("dayfly/one:latest")
    kitchen.made.clear()
    await kitchen.bake("one")
    assert kitchen.made == ["extract disk.qcow2 of bake 1", "layer", "verify one"]


async def test_an_image_below_that_does_not_work_has_no_layers(kitchen: Kitchen) -> None:
    kitchen.fail["verify bare"] = ImageBroken("the node does not boot")
    with pytest.raises(ImageBroken):
        await kitchen.bake("one")
    assert not kitchen.images.stored or "layer" not in kitchen.made


async def test_the_image_below_is_pulled_by_its_digest_and_gets_no_name_of_a_recipe(kitchen: Kitchen) -> None:
    await kitchen.bake("bare")
    bare = await kitchen.images.inspect("dayfly/bare:latest")
    kitchen.images.registry[REGISTRY] = bare
    files = kitchen.images.files[bare.id]
    for name in ("latest", make_plan("bare", kitchen.root).keys.image[:12]):
        await kitchen.images.remove(f"dayfly/bare:{name}")
    fields = {"base": "debian-12", "control_plane": SIZE, "worker": SIZE, "minimum": SIZE}
    kitchen.write("one", **{"from": {"image": REGISTRY}, **fields})
    kitchen.made.clear()
    layer = await kitchen.bake("one")
    assert kitchen.images.files[layer].items() > files.items()
    assert (await kitchen.manifest(layer)).parent_recipes == ("bare",)
    assert kitchen.made == ["extract disk.qcow2 of bake 1", "layer", "verify one"]
    assert REGISTRY in (await kitchen.images.inspect(bare.id)).references
    with pytest.raises(ImageMissing):
        await kitchen.images.inspect("dayfly/bare:latest")


@pytest.mark.parametrize("disk", ["/../../../tmp/evil/disk.qcow2", "/dayfly/..", "dayfly/disk.qcow2", "/disk.qcow2"])
async def test_an_image_whose_disk_leads_elsewhere_has_no_layers(kitchen: Kitchen, disk: str) -> None:
    await kitchen.bake("bare")
    manifest = (await kitchen.manifest("dayfly/bare:latest")).model_copy(update={"disk": disk})
    kitchen.images.registry[REGISTRY] = kitchen.images.add("other:1", {LABEL_IMAGE: manifest.model_dump_json()})
    fields = {"base": "debian-12", "control_plane": SIZE, "worker": SIZE, "minimum": SIZE}
    kitchen.write("one", **{"from": {"image": REGISTRY}, **fields})
    kitchen.made.clear()
    with pytest.raises(BakeFailed, match="the image below has its disk at"):
        await kitchen.bake("one")
    assert kitchen.made == []


async def test_addresses_that_the_recipe_below_cannot_be_baked_with_are_refused_before_anything(
    kitchen: Kitchen,
) -> None:
    kitchen.write("one", **{"from": "k8s-1.36"})
    kitchen.write("two", **{"from": "one"})
    kitchen.addresses = BakeAddresses(kubernetes_packages="http://mirror.example")
    with pytest.raises(InvalidRequest, match="the key that it has proves nothing"):
        await kitchen.bake("two")
    assert (kitchen.made, kitchen.progress) == ([], [])


async def test_an_image_that_is_no_node_image_is_removed_again(kitchen: Kitchen) -> None:
    kitchen.images.registry[REGISTRY] = kitchen.images.add("other:1", {"a": "b"})
    await kitchen.images.remove("other:1")
    fields = {"base": "debian-12", "control_plane": SIZE, "worker": SIZE, "minimum": SIZE}
    kitchen.write("one", **{"from": {"image": REGISTRY}, **fields})
    with pytest.raises(NotANodeImage, match="phase below"):
        await kitchen.bake("one")
    assert not kitchen.images.stored


async def test_add_ons_of_a_layer_need_a_kubernetes_below(kitchen: Kitchen) -> None:
    await kitchen.bake("bare")
    kitchen.images.registry[REGISTRY] = await kitchen.images.inspect("dayfly/bare:latest")
    fields = {"base": "debian-12", "control_plane": SIZE, "worker": SIZE, "minimum": SIZE}
    kitchen.write("one", **{"from": {"image": REGISTRY}, "addons": ["nfs"], **fields})
    with pytest.raises(BakeFailed, match="no Kubernetes"):
        await kitchen.bake("one")
