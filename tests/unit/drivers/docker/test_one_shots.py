"""The output of one-shot containers: an image decides how much its programs print."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dayfly.controllers.engine_host import EngineHost
from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.domain.scheduling.resources import CapacityRules
from dayfly.drivers.bounds import OUTPUT_BYTES
from dayfly.drivers.docker.images import DockerImages
from dayfly.drivers.interfaces import ExecResult
from dayfly.errors import EngineRefused
from dayfly.testing.fakes import FakeEngine, FakeImages
from tests.support.recorded_engine import DOCKER_26, RecordedEngine, recorded_engine

NAME = "dayfly-one-shot-0"


@pytest.fixture
async def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RecordedEngine]:
    monkeypatch.setattr("dayfly.drivers.docker.images.secrets.token_hex", lambda _: "0")
    async with recorded_engine(tmp_path, DOCKER_26) as engine:
        engine.answers["POST", "containers/create"] = (201, {"Id": NAME})
        engine.answers["POST", f"containers/{NAME}/start"] = (204, None)
        engine.answers["POST", f"containers/{NAME}/wait"] = (200, {"StatusCode": 3})
        yield engine


def frame(stream: int, text: str) -> str:
    return struct.pack(">BxxxL", stream, len(text)).decode() + text


async def test_the_ends_of_a_long_output_are_kept(docker: RecordedEngine) -> None:
    flood = frame(1, "x" * 2**16) * 500
    log = frame(1, "first\n") + frame(2, "warning\n") + flood + frame(1, "last\n")
    docker.answers["GET", f"containers/{NAME}/logs"] = (200, log)
    images = DockerImages(docker.url)
    try:
        ended = await images.run("bare:1", ["true"], timeout=5)
    finally:
        await images.close()
    assert ended is not None
    assert (ended.exit_code, ended.stderr) == (3, b"warning\n")
    assert ended.stdout.endswith(b"xlast\n")
    assert len(ended.stdout) == OUTPUT_BYTES


@pytest.mark.parametrize("printed", [b"", b"many", b"9" * 5000, b"-", "\u00b2".encode()], ids=lambda it: str(it[:4]))
async def test_an_image_that_prints_no_size_of_the_disk_is_refused(printed: bytes) -> None:
    images = FakeImages()
    images.add("bare:1", {LABEL_IMAGE: "{}"})
    images.run_result = ExecResult(0, printed, b"")
    host = EngineHost(FakeEngine(), images, CapacityRules(1, 1, 1, 0, 0))
    with pytest.raises(EngineRefused, match="disk is unknown"):
        await host.capacity()
    images.run_result = ExecResult(0, b"1G-blocks\n  250\n", b"")
    assert (await host.capacity()).disk_gib == 250


async def test_an_image_without_the_program_does_not_hide_the_size_of_the_disk() -> None:
    images = FakeImages()
    images.add("broken:1", {LABEL_IMAGE: "{}"})
    images.run_result = ExecResult(0, b"1G-blocks\n  250\n", b"")
    host = EngineHost(FakeEngine(), images, CapacityRules(1, 1, 1, 0, 0))
    images.fail_next("run", EngineRefused("no program df"))
    with pytest.raises(EngineRefused, match="no program df"):
        await host.capacity()
    images.add("bare:1", {LABEL_IMAGE: "{}"})
    images.fail_next("run", EngineRefused("no program df"))
    assert (await host.capacity()).disk_gib == 250
