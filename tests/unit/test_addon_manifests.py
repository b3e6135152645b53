"""Pulled add-ons out of their stored manifests, and why one is not available."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from dayfly.addon_manifests import AddonManifests, assemble, pulled_images_available, sha256
from dayfly.controllers.spec_refresh import SpecRefresher
from dayfly.domain.addon_source import PinnedImage
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.image import ImageManifest
from dayfly.errors import AddonUnavailable, InvalidRequest
from dayfly.settings import Settings
from tests.support.pulled_addons import DIGEST, MANIFEST, PINNED, make_juice
from tests.support.specs import make_spec


def unavailable(images: Iterable[PinnedImage]) -> str:
    return f"no cache of {', '.join(image.reference for image in images)}"


def test_a_stored_addon_is_complete(tmp_path: Path) -> None:
    manifests, juice = AddonManifests(tmp_path, lambda _: None), make_juice()
    with pytest.raises(AddonUnavailable) as refused:
        manifests.complete(juice)
    assert refused.value.code == "addon_unavailable"
    assert refused.value.message == (
        "addons: juice is not available: its manifests are not on the server: run `dayfly addon fetch juice` there"
    )
    manifests.store(MANIFEST)
    made = manifests.complete(juice)
    assert made is manifests.complete(juice)
    assert len(made.objects) == 8
    assert made.ready_paths == ("/apis/apps/v1/namespaces/juice/deployments/press",)
    assert set(made.model_dump()) == {"name", "needs", "objects", "ready_paths"}


def test_images_that_nodes_cannot_pull_are_a_reason(tmp_path: Path) -> None:
    manifests = AddonManifests(tmp_path, unavailable)
    manifests.store(MANIFEST)
    with pytest.raises(AddonUnavailable, match=f"juice is not available: no cache of {PINNED}"):
        manifests.complete(make_juice())


def test_a_manifest_that_was_changed_on_the_disk_is_refused(tmp_path: Path) -> None:
    manifests = AddonManifests(tmp_path, lambda _: None)
    manifests.store(MANIFEST)
    path = tmp_path / sha256(MANIFEST)
    path.write_bytes(MANIFEST[:-20])
    with pytest.raises(AddonUnavailable, match=f"{path} has the SHA-256 {sha256(MANIFEST[:-20])}: remove it"):
        manifests.complete(make_juice())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff", "is not text in UTF-8"),
        (b"a: [", "is not YAML"),
        (b"!!python/object/apply:os.getcwd []", "is not YAML"),
        (b"- a", "has a document that is not a Kubernetes object"),
        (b"kind: A\napiVersion: v1", "has a document that is not a Kubernetes object with a name"),
        (b"kind: A\napiVersion: v1\nmetadata: {name: a}\nat: 2026-01-01", "has a value that is not JSON"),
        (b"kind: A\napiVersion: v1\nmetadata: {name: a}", "neither workloads nor ready_paths"),
    ],
)
def test_what_is_no_addon_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason) as refused:
        assemble(make_juice(content), {sha256(content): content})
    assert "\n" not in refused.value.message


def test_nodes_pull_from_registries_that_the_installation_caches() -> None:
    images = [PinnedImage(name=name, digest=DIGEST) for name in ("quay.io/a/b:v1", "tea", "docker.io/c/d:v1")]

    def of(*caches: str) -> str | None:
        return pulled_images_available(Settings(registry_caches=caches), images)

    assert of("quay.io", "docker.io=https://mirror.example", "ghcr.io") is None
    advice = "set DAYFLY_REGISTRY_CACHES on the server"
    assert of("quay.io") == f"this installation has no cache of docker.io: {advice}"
    assert of() == f"this installation has no cache of docker.io, quay.io: {advice}"


async def test_templates_keep_an_addon_that_is_not_available_any_more(tmp_path: Path) -> None:
    manifests, juice = AddonManifests(tmp_path, lambda _: None), make_juice()
    manifests.store(MANIFEST)
    made = manifests.complete(juice)
    spec = make_spec(kubernetes=True, addons=[made.model_copy(update={"ready_paths": ("/old",)})])

    async def resolve(image: str) -> tuple[str, ImageManifest]:
        return spec.image_id, spec.manifest

    async def key_of(spec: ClusterSpec, owner: str) -> str:
        return ""

    refresher = SpecRefresher(resolve, key_of, {"juice": juice}, manifests.complete)
    assert (await refresher.now(spec, "us"))[0].addons == (made,)
    (tmp_path / sha256(MANIFEST)).unlink()
    assert (await refresher.now(spec, "us"))[0].addons == spec.addons
