"""Files of an image are read by a container that never runs, and that is gone afterwards: on recorded answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dayfly.drivers.docker.images import DockerImages
from dayfly.drivers.interfaces import File
from dayfly.drivers.tar import archive
from dayfly.errors import BakeFailed, EngineRefused, ImageMissing
from tests.support.recorded_engine import DOCKER_26, RecordedEngine, recorded_engine

CONTAINER = "dayfly-reading-lab-storage"
ARCHIVE = ("GET", f"containers/{CONTAINER}/archive")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[RecordedEngine]:
    async with recorded_engine(tmp_path, DOCKER_26) as engine:
        engine.answers["POST", "containers/create"] = (201, {"Id": CONTAINER, "Warnings": []})
        engine.answers["DELETE", f"containers/{CONTAINER}"] = (204, None)
        yield engine


async def read(engine: RecordedEngine, folder: Path) -> None:
    images = DockerImages(engine.url)
    try:
        await images.read_files("sha256:" + "1" * 64, "/dayfly", folder, reader="lab-storage")
    finally:
        await images.close()
        assert engine.requests("DELETE")[-1:] == [f"containers/{CONTAINER}"], "the container is gone"


async def test_a_folder_of_an_image_is_unpacked(engine: RecordedEngine, tmp_path: Path) -> None:
    engine.answers[ARCHIVE] = (200, archive([File("/dayfly/disk", b"d" * 3_000_000)], {"/dayfly": 0o755}).decode())
    await read(engine, tmp_path)
    assert (tmp_path / "dayfly" / "disk").read_bytes() == b"d" * 3_000_000
    asked = {one.path: one for one in engine.asked}
    assert asked[ARCHIVE[1]].query == {"path": "/dayfly"}
    created = asked["containers/create"].body
    assert (created["HostConfig"]["CapDrop"], created["HostConfig"]["NetworkMode"]) == (["ALL"], "none")
    assert not any("start" in path for path in engine.requests("POST"))


async def test_a_transfer_that_ends_early_fails_the_bake(engine: RecordedEngine, tmp_path: Path) -> None:
    engine.answers[ARCHIVE] = (200, archive([File("/dayfly/disk", b"d" * 3_000_000)]).decode()[:2_000_000])
    with pytest.raises(BakeFailed, match=r"reading /dayfly of sha256:1+ failed"):
        await read(engine, tmp_path)


async def test_an_image_without_that_folder_is_refused(engine: RecordedEngine, tmp_path: Path) -> None:
    engine.answers[ARCHIVE] = (404, {"message": "Could not find the file /dayfly in container"})
    with pytest.raises(EngineRefused):
        await read(engine, tmp_path)


async def test_an_image_that_is_missing(engine: RecordedEngine, tmp_path: Path) -> None:
    engine.answers["POST", "containers/create"] = (404, {"message": f"No such image: sha256:{'1' * 64}"})
    with pytest.raises(ImageMissing):
        await read(engine, tmp_path)
