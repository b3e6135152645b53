"""DockerImages.build against a real engine: a folder with a Dockerfile, without the docker command."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiodocker import Docker

from dayfly.drivers.docker.images import DockerImages
from dayfly.errors import BakeFailed, ImageMissing
from tests.support.steps import busybox, images, instance

__all__ = ["busybox", "images", "instance"]
pytestmark = pytest.mark.docker


@pytest.fixture
async def reference(images: DockerImages) -> AsyncIterator[str]:
    name = f"dayfly-test/{secrets.token_hex(4)}:v1"
    yield name
    await images.remove(name)


async def _containers(image: str) -> list[str]:
    """Containers of `image`: a shared engine has others."""
    async with Docker() as docker:
        return [one.id for one in await docker.containers.list(all=True, filters={"ancestor": [image]})]


async def test_the_engine_builds_a_folder_with_a_dockerfile(
    images: DockerImages, busybox: str, reference: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text("ARG BASE=none\nFROM ${BASE}\nCOPY greeting /\nRUN cat /greeting\n")
    (tmp_path / "greeting").write_text("hello from the folder\n")
    lines: list[str] = []

    await images.build(tmp_path, reference, arguments={"BASE": busybox}, labels={"a.b": "c d"}, on_line=lines.append)

    assert (await images.inspect(reference)).labels["a.b"] == "c d"
    assert "hello from the folder" in lines
    ended = await images.run(reference, ["cat", "/greeting"], timeout=30)
    assert ended is not None
    assert ended.stdout == b"hello from the folder\n"
    assert await _containers(reference) == []


async def test_a_build_that_fails_says_why_and_makes_no_image(
    images: DockerImages, busybox: str, reference: str, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {busybox}\nRUN sh -c 'echo no luck; exit 3'\n")
    lines: list[str] = []

    with pytest.raises(BakeFailed, match=f"building {reference}.*exit 3"):
        await images.build(tmp_path, reference, arguments={}, labels={}, on_line=lines.append)

    assert "no luck" in lines
    with pytest.raises(ImageMissing):
        await images.inspect(reference)
