"""Patterns that API, domain and client share."""

from __future__ import annotations

import pytest

from dayfly.drivers.docker.images import DockerImages
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
    with pytest.raises(ImageMissing, match="is not the reference of an image"):
        await images.inspect(reference)
    await images.close()
