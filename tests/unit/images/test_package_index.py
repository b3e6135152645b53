"""The versions that a package repository has, read from a server over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from dayfly import assets
from dayfly.domain.bake_addresses import BakeAddresses
from dayfly.domain.image import ImageManifest, KubernetesNode, NodeSize
from dayfly.drivers.interfaces import ImageInfo
from dayfly.errors import UpstreamUnavailable
from dayfly.images.kubernetes_versions import load_versions
from dayfly.images.node_images import NodeImage
from dayfly.images.package_index import find_versions, parse_releases
from tests.support.package_repository import Repository, index, package_repository

VERSIONS = load_versions(assets.provisioning() / "kubernetes" / "versions.yaml")
SIZE = NodeSize(vcpus=1, memory_mib=512, disk_gib=8)


@pytest.fixture
def repository() -> Iterator[Repository]:
    with package_repository() as repository:
        yield repository


def baked(version: str | None) -> NodeImage:
    kubernetes = None if version is None else KubernetesNode(version=version, smoke_image="smoke:1")
    manifest = ImageManifest(recipe="x", control_plane=SIZE, worker=SIZE, minimum=SIZE, kubernetes=kubernetes)
    info = ImageInfo(
        id="sha256:1",
        references=("dayfly/x:latest",),
        labels={},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        size_bytes=1,
    )
    return NodeImage(info, manifest)


async def test_the_releases_of_each_minor_version_and_what_is_baked(repository: Repository) -> None:
    repository.files["/k8s/v1.35/deb/Packages"] = index("1.35.9-1.1", "1.35.10-1.1") + index("9.9.9-1", package="x")
    repository.files["/k8s/v1.36/deb/Packages"] = index("1.36.5-1.1")
    images = [baked("v1.35.3"), baked("v1.35.10"), baked("v1.20.2"), baked("odd"), baked(None)]
    addresses = BakeAddresses(kubernetes_packages=repository.address)
    found = {one.minor: one for one in await find_versions("k8s", VERSIONS, images, addresses)}
    assert list(found) == ["1.20", "1.34", "1.35", "1.36"]
    assert found["1.35"].recipe == "k8s-1.35"
    assert found["1.35"].pinned == f"1.35.{VERSIONS.versions['1.35'].patch}"
    assert found["1.35"].releases == ("1.35.10", "1.35.9")
    assert found["1.35"].newest == "1.35.10"
    assert found["1.35"].baked == ("1.35.10", "1.35.3")
    assert (found["1.34"].newest, found["1.34"].baked) == (None, ())
    assert found["1.20"].baked == ("1.20.2",)
    assert "/k8s/v1.36/deb/Packages" in repository.asked


async def test_a_minor_version_without_a_line_is_shown_without_a_recipe(repository: Repository) -> None:
    repository.files["/k8s/v1.37/deb/Packages"] = index("1.37.1-1.1")
    found = await find_versions("k8s", VERSIONS, [], BakeAddresses(kubernetes_packages=repository.address))
    assert (found[-1].minor, found[-1].recipe, found[-1].pinned, found[-1].newest) == ("1.37", None, None, "1.37.1")


async def test_an_address_without_any_index_is_an_error_with_the_setting(repository: Repository) -> None:
    with pytest.raises(UpstreamUnavailable, match=r"has no index of packages.*DAYFLY_KUBERNETES_PACKAGES"):
        await find_versions("k8s", VERSIONS, [], BakeAddresses(kubernetes_packages=repository.address))


async def test_an_answer_that_is_no_index_is_an_error_with_the_address(repository: Repository) -> None:
    repository.fallback = 503
    with pytest.raises(UpstreamUnavailable, match=r"/k8s/v1\.\d\d/deb/Packages was answered with status 503"):
        await find_versions("k8s", VERSIONS, [], BakeAddresses(kubernetes_packages=repository.address))


async def test_an_address_that_does_not_answer_is_an_error_with_the_address(repository: Repository) -> None:
    address = repository.address
    repository.server.socket.close()
    with pytest.raises(UpstreamUnavailable, match=r"http://127\.0\.0\.1.*cannot be downloaded"):
        await find_versions("k8s", VERSIONS, [], BakeAddresses(kubernetes_packages=address))


def test_only_releases_of_kubeadm_count() -> None:
    text = index("1.36.0-1.1", "1.36.0-2.1", "1.36.1~rc.1-1", "nonsense") + index("1.36.7-1", package="kubelet")
    assert parse_releases(text) == ("1.36.0",)
    assert parse_releases("") == ()
