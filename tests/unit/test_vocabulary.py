"""Patterns that API, domain and client share."""

from __future__ import annotations

import re

import pytest
from yarl import URL

from dayfly.drivers.docker import objects
from dayfly.drivers.docker.images import DockerImages
from dayfly.drivers.docker.objects import image_in_path
from dayfly.errors import ImageMissing
from dayfly.vocabulary import IMAGE_REFERENCE

FOREIGN = [
    "a/../../distribution/10.0.0.5:22/x",
    "..",
    "a/..",
    "a//b",
    "/a",
    "a/",
    "a b",
    "a?x=1",
    "a#b",
    "a%2e%2e/b",
    "A/B",
    "a:",
    "a:.b",
    "a@sha256:short",
    "a\n",
    "",
]


@pytest.mark.parametrize(
    "reference",
    [
        "bare",
        "k8s-debian",
        "dayfly/bare:latest",
        "dayfly-test/a__b.c:1.2-3_4",
        "registry.example/dayfly/bare:1",
        "Registry.Example:5000/dayfly/bare",
        "localhost:5000/x@sha256:" + "a" * 64,
        "[::1]:5000/x:1",
        "sha256:" + "0" * 64,
        "f" * 64,
    ],
)
def test_references_of_the_distribution_project(reference: str) -> None:
    assert IMAGE_REFERENCE.fullmatch(reference)


@pytest.mark.parametrize("reference", FOREIGN)
async def test_what_is_no_reference_reaches_no_engine(reference: str) -> None:
    assert not IMAGE_REFERENCE.fullmatch(reference)
    images = DockerImages("unix:///nonexistent")
    calls = (
        lambda: images.inspect(reference),
        lambda: images.remove(reference),
        lambda: images.tag(reference, "dayfly/bare:1"),
        lambda: anext(images.push(reference)),
    )
    for call in calls:
        with pytest.raises(ImageMissing, match="is not the reference of an image"):
            await call()
    await images.close()


@pytest.mark.parametrize("reference", ["bare", "[::1]:5000/x:1", "lab.example:5000/x@sha256:" + "a" * 64])
def test_a_reference_is_the_same_in_a_path(reference: str) -> None:
    assert URL(f"http://engine/v1.41/images/{image_in_path(reference)}/json").path == f"/v1.41/images/{reference}/json"


def test_what_a_path_reserves_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the grammar will allow."""
    monkeypatch.setattr(objects, "IMAGE_REFERENCE", re.compile(".*"))
    assert image_in_path("lab:5000/a?b#c%2f d@x") == "lab:5000/a%3Fb%23c%252f%20d@x"
