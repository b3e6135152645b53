"""A layer over a node image goes through a registry to an engine that lacks it: only the difference is transferred.

The images are small stand-ins, made as bakes make them; the registry and both engines are real. No machine runs.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.domain.image import ImageManifest
from dayfly.drivers.docker.images import DockerImages
from dayfly.drivers.interfaces import TransferProgress
from dayfly.errors import RegistryRefused
from dayfly.images.layer_image import build_layer_image
from dayfly.images.node_images import pull_image, push_image
from tests.support.debian_programs import debian_program
from tests.support.mirror.registry import running_registry
from tests.support.node_images import manifest_of
from tests.support.registry_front import Front, registry_front
from tests.support.second_engine import ALLOWED, FORBIDDEN, second_engine
from tests.support.steps import images, pack_busybox

__all__ = ["images"]
pytestmark = pytest.mark.docker

BASE_BYTES, LAYER_BYTES = 12_000_000, 400_000
"""Of what an image and a layer add, which cannot be compressed."""
MANIFESTS_BYTES = 64_000
"""The registry has an image's configuration as a blob, too."""


@dataclass
class Pair:
    """A node image and a layer over it, on the first engine. `name` is that of both repositories in the registry."""

    name: str
    base: str
    layer: str


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    program = await debian_program("bookworm", "docker-registry", "usr/bin/docker-registry")
    (tmp_path / "storage").mkdir()
    with running_registry(program, tmp_path / "storage") as address:
        async with registry_front(address, tmp_path / "front.sock") as front:
            yield front


@pytest.fixture
async def pair(images: DockerImages, tmp_path: Path) -> AsyncIterator[Pair]:
    name = f"layers-{secrets.token_hex(4)}"
    toolbox, base, layer = (f"dayfly-test/{name}:{kind}" for kind in ("toolbox", "base", "layer"))
    pack_busybox(tmp_path / "toolbox.tar")
    try:
        await images.import_rootfs(tmp_path / "toolbox.tar", toolbox, changes=['CMD ["/bin/sh"]'])
        below = manifest_of("a" * 12, None, name)
        folder = await asyncio.to_thread(_folder, tmp_path / "base", below.disk, BASE_BYTES)
        labels = {LABEL_IMAGE: below.model_dump_json()}
        base_id = await images.add_files(toolbox, folder, base, labels=labels)
        manifest = _layer_manifest(below)
        (tmp_path / "scratch").mkdir()
        disk = await asyncio.to_thread(_random, tmp_path / "disk", LAYER_BYTES)
        await build_layer_image(
            images, below=base_id, disk=disk, scratch=tmp_path / "scratch", reference=layer, manifest=manifest
        )
        yield Pair(name, base, layer)
    finally:
        for reference in (layer, base, toolbox):
            await images.remove(reference)


def _layer_manifest(below: ImageManifest) -> ImageManifest:
    digest = "b" * 12
    disk = str(Path(below.disk).with_name(f"{digest}.qcow2"))
    return below.model_copy(update={"digest": digest, "disk": disk, "parents": (below.digest,)})


def _folder(folder: Path, disk: str, size: int) -> Path:
    file = folder / disk.lstrip("/")
    file.parent.mkdir(parents=True)
    _random(file, size)
    return folder


def _random(file: Path, size: int) -> Path:
    file.write_bytes(os.urandom(size))
    return file


@pytest.fixture
async def other(front: Front, tmp_path: Path) -> AsyncIterator[DockerImages]:
    """The images of an engine that has none."""
    async with second_engine(tmp_path / "front.sock", front.port) as url:
        store = DockerImages(url)
        try:
            yield store
        finally:
            await store.close()


def ignore(progress: TransferProgress) -> None:
    """The progress of a transfer."""


async def test_only_the_difference_of_a_layer_is_pushed_and_pulled(
    images: DockerImages, other: DockerImages, front: Front, pair: Pair
) -> None:
    base, layer = (f"{front.address}/dayfly/{pair.name}:{tag}" for tag in ("base", "layer"))
    await push_image(images, pair.base, base, ignore)
    assert front.pushed > BASE_BYTES
    front.pushed = 0
    await push_image(images, pair.layer, layer, ignore)
    assert LAYER_BYTES < front.pushed < LAYER_BYTES + MANIFESTS_BYTES

    await pull_image(other, base, ignore)
    assert front.pulled > BASE_BYTES
    front.pulled = 0
    pulled = await pull_image(other, layer, ignore)
    assert LAYER_BYTES < front.pulled < LAYER_BYTES + MANIFESTS_BYTES

    here = await images.inspect(pair.layer)
    assert pulled.info.id == here.id, "by content, the engines have one image"
    assert pulled.manifest.parents == ("a" * 12,)
    assert set(pulled.info.references) == {f"dayfly/{pair.name}:{'b' * 12}", f"dayfly/{pair.name}:latest"}


async def test_an_engine_that_lacks_both_gets_both_by_the_layers_name(
    images: DockerImages, other: DockerImages, front: Front, pair: Pair
) -> None:
    layer = f"{front.address}/dayfly/{pair.name}:layer"
    await push_image(images, pair.layer, layer, ignore)
    await pull_image(other, layer, ignore)
    assert front.pulled > BASE_BYTES + LAYER_BYTES
    front.pulled = 0
    await pull_image(other, layer, ignore)
    assert front.pulled == 0, "nothing is transferred twice"


async def test_a_transfer_that_is_cut_off_goes_on(
    images: DockerImages, other: DockerImages, front: Front, pair: Pair
) -> None:
    base, layer = (f"{front.address}/dayfly/{pair.name}:{tag}" for tag in ("base", "layer"))
    front.cut_after = BASE_BYTES // 2
    await push_image(images, pair.base, base, ignore)
    assert front.cuts == 1
    await push_image(images, pair.layer, layer, ignore)

    front.cut_after = BASE_BYTES // 2
    await pull_image(other, base, ignore)
    assert front.cuts == 2
    assert front.pulled < 1.3 * BASE_BYTES, "what had come was kept"
    pulled = await pull_image(other, layer, ignore)
    assert pulled.info.id == (await images.inspect(pair.layer)).id


async def test_a_registry_without_tls_needs_an_exception_of_the_engine(
    images: DockerImages, other: DockerImages, front: Front, pair: Pair
) -> None:
    await push_image(images, pair.base, f"{front.address}/dayfly/{pair.name}:base", ignore)
    with pytest.raises(RegistryRefused, match=f"has no TLS.*insecure-registries.*{FORBIDDEN}:{front.port}"):
        await pull_image(other, f"{FORBIDDEN}:{front.port}/dayfly/{pair.name}:base", ignore)
    pulled = await pull_image(other, f"{ALLOWED}:{front.port}/dayfly/{pair.name}:base", ignore)
    assert pulled.info.id == (await images.inspect(pair.base)).id


async def test_a_registry_that_wants_a_login_gets_the_stored_one(
    images: DockerImages, front: Front, pair: Pair, tmp_path: Path
) -> None:
    target = f"{front.address}/dayfly/{pair.name}:base"
    front.login = "baker:pass word"
    with pytest.raises(RegistryRefused, match=f"docker login {front.address}"):
        await push_image(images, pair.base, target, ignore)
    auth = base64.b64encode(front.login.encode()).decode()
    logins = tmp_path / "config.json"
    logins.write_text(json.dumps({"auths": {front.address: {"auth": auth}}}))
    with_login = DockerImages(logins=logins)
    try:
        await push_image(with_login, pair.base, target, ignore)
        assert front.pushed > BASE_BYTES
        with pytest.raises(RegistryRefused, match="requires a login"):
            await pull_image(images, target, ignore)
        pulled = await pull_image(with_login, target, ignore)
        assert pulled.info.id == (await images.inspect(pair.base)).id
    finally:
        await with_login.close()
        for tag in ("a" * 12, "latest"):
            await images.remove(f"dayfly/{pair.name}:{tag}")
