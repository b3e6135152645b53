"""Callers see no text of the engine, in messages or evidence. The log and operators do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import structlog

from dayfly.domain.cluster.naming import LABEL_CLUSTER, LABEL_INSTANCE, LABEL_ROLE
from dayfly.domain.engine_resource import EngineResource
from dayfly.drivers.docker.container_config import LABEL_PORTS
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.docker.images import DockerImages
from dayfly.errors import DayflyError
from dayfly.images.node_images import resolve_image
from tests.support.recorded_engine import DOCKER_26, RecordedEngine, recorded_engine
from tests.support.steps import container

INSTANCE = "test-1"
MARKED = "dial tcp 10.9.8.7:22"
"""The engine dialled an address that a caller must not learn of."""
PORT_TAKEN = f"{MARKED}: Bind for 127.0.0.1:20000 failed: port is already allocated"
NO_SPACE = f"{MARKED}: write /var/lib/docker/tmp/x: no space left on device"
LABELS = {LABEL_CLUSTER: "c1", LABEL_INSTANCE: INSTANCE, LABEL_ROLE: "net"}


async def _all(stream: AsyncIterator[object]) -> None:
    async for _ in stream:
        pass


async def _open(engine: DockerEngine) -> None:
    async with engine.open("x", ["true"]):
        pass


ENGINE_CALLS: dict[str, Callable[[DockerEngine], Awaitable[object]]] = {
    "ensure": lambda engine: engine.ensure(container(INSTANCE, "net", cluster="c1")),
    "ensure with ports": lambda engine: engine.ensure(container(INSTANCE, "net", cluster="c1", ports=(22,))),
    "list_containers": lambda engine: engine.list_containers("c1"),
    "list_resources": lambda engine: engine.list_resources(),
    "discard": lambda engine: engine.discard(EngineResource("volume", "v", "v", "c1")),
    "stop": lambda engine: engine.stop("x"),
    "wait_exit": lambda engine: engine.wait_exit("x"),
    "remove": lambda engine: engine.remove("c1"),
    "exec": lambda engine: engine.exec("x", ["true"], timeout=5),
    "open": _open,
    "logs": lambda engine: engine.logs("x"),
    "read_file": lambda engine: engine.read_file("x", "/x", tail_bytes=5),
    "endpoints": lambda engine: engine.endpoints("c1"),
    "info": lambda engine: engine.info(),
}
IMAGE_CALLS: dict[str, Callable[[DockerImages], Awaitable[object]]] = {
    "inspect": lambda images: images.inspect("lab.example:5000/x:1"),
    "resolve": lambda images: resolve_image(images, "lab.example:5000/x:1"),
    "list": lambda images: images.list(label="x"),
    "push": lambda images: _all(images.push("lab.example:5000/x:1")),
    "pull": lambda images: _all(images.pull("lab.example:5000/x:1")),
    "tag": lambda images: images.tag("x", "y:1"),
    "remove": lambda images: images.remove("x:1"),
    "run": lambda images: images.run("x:1", ["true"], timeout=5),
}
ANSWERS = [(status, MARKED) for status in (400, 403, 404, 409, 500, 503)] + [
    (500, f"{MARKED}: no such image"),
    (500, NO_SPACE),
    (500, PORT_TAKEN),
    (500, f"{MARKED}: unauthorized"),
    (500, f"{MARKED}: server gave HTTP response to HTTPS client"),
]


@pytest.fixture
async def recorded(tmp_path: Path) -> AsyncIterator[RecordedEngine]:
    async with recorded_engine(tmp_path, DOCKER_26) as engine:
        yield engine


async def failure(call: Awaitable[object]) -> DayflyError | None:
    """The error of the call, after a check that the text is in the log and in no field that callers see."""
    found = None
    with structlog.testing.capture_logs() as lines:
        try:
            await call
        except DayflyError as error:
            found = error
    if found is not None:
        assert MARKED not in f"{found!r} {found.message} {found.evidence}"
        # These two have no text of the engine: the container does not run, or the image does not exist.
        if found.code not in {"container_exited", "image_missing"}:
            assert MARKED in found.for_operator
        # The caller logs an outage when it gives up, and a missing image is no failure.
        if found.code not in {"container_exited", "image_missing", "engine_unavailable"}:
            assert any(MARKED in str(line.get("details")) for line in lines)
    return found


@pytest.mark.parametrize(("status", "text"), ANSWERS)
@pytest.mark.parametrize("name", ENGINE_CALLS)
async def test_no_text_of_the_engine(recorded: RecordedEngine, name: str, status: int, text: str) -> None:
    recorded.fallback = (status, {"message": text})
    engine = DockerEngine(recorded.url, instance=INSTANCE)
    try:
        error = await failure(ENGINE_CALLS[name](engine))
    finally:
        await engine.close()
    assert error is not None or status in {404, 409}, "404 and 409 may mean that there is nothing to do"


@pytest.mark.parametrize(("status", "text"), ANSWERS)
@pytest.mark.parametrize("name", IMAGE_CALLS)
async def test_no_text_of_the_engine_about_images(recorded: RecordedEngine, name: str, status: int, text: str) -> None:
    recorded.fallback = (status, {"message": text})
    images = DockerImages(recorded.url)
    try:
        error = await failure(IMAGE_CALLS[name](images))
    finally:
        await images.close()
    assert error is not None or status == 404, "an image that does not exist is removed already"


@pytest.mark.parametrize("name", ["push", "pull"])
@pytest.mark.parametrize("text", dict.fromkeys(text for _, text in ANSWERS))
async def test_no_text_of_the_engine_in_a_transfer_that_has_begun(
    recorded: RecordedEngine, name: str, text: str
) -> None:
    recorded.fallback = (200, json.dumps({"error": text}) + "\n")
    images = DockerImages(recorded.url)
    try:
        assert await failure(IMAGE_CALLS[name](images)) is not None
    finally:
        await images.close()


async def test_no_text_of_the_engine_about_a_port(recorded: RecordedEngine) -> None:
    labels = {**LABELS, LABEL_PORTS: "20000"}
    shown = {"Id": "0f", "Name": "/n", "Config": {"Labels": labels}, "State": {"Status": "exited"}}
    name = container(INSTANCE, "net", cluster="c1").name
    recorded.answers["GET", f"containers/{name}/json"] = (200, shown)
    recorded.answers["POST", "containers/0f/start"] = (500, {"message": PORT_TAKEN})
    engine = DockerEngine(recorded.url, instance=INSTANCE)
    try:
        error = await failure(engine.ensure(container(INSTANCE, "net", cluster="c1", ports=(22,)), again=True))
    finally:
        await engine.close()
    assert error is not None
    assert error.code == "ports_exhausted"
    assert "its host port 20000 is taken" in error.message
