"""A real Docker that is missing, goes down, returns, or starts later."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from dayfly.domain.engine_resource import EngineResource
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.errors import EngineRefused, EngineUnavailable
from tests.support.socket_proxy import CuttableSocket
from tests.support.steps import busybox, cluster_id, container, engine, images, instance

__all__ = ["busybox", "engine", "images", "instance"]
pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("busybox")]


async def test_an_engine_that_is_not_there(tmp_path: Path, instance: str) -> None:
    nowhere = DockerEngine(f"unix://{tmp_path}/none.sock", instance=instance)
    spec = container(instance, "net", role="net")
    calls = [
        nowhere.ensure(spec),
        nowhere.list_containers("c"),
        nowhere.list_resources(),
        nowhere.discard(EngineResource("volume", "v", "v", "")),
        nowhere.stop("c"),
        nowhere.wait_exit("c"),
        nowhere.remove("c"),
        nowhere.exec("c", ["true"], timeout=5),
        nowhere.logs("c"),
        nowhere.read_file("c", "/x", tail_bytes=1),
        nowhere.endpoints("c"),
        nowhere.info(),
        anext(nowhere.events()),
        nowhere.open("c", ["true"]).__aenter__(),
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)

    assert {type(result) for result in results} == {EngineUnavailable}
    await nowhere.close()


async def test_an_engine_that_comes_after_us(tmp_path: Path, instance: str, engine: DockerEngine) -> None:
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as nobody:
        # The file exists without a listener, as during the engine's start.
        nobody.bind(str(path))
        driver = DockerEngine(f"unix://{path}", instance=instance)
        with pytest.raises(EngineUnavailable):
            await driver.list_resources()
        path.unlink()
    with CuttableSocket(path):
        await driver.ensure(container(instance, "net", role="net"))
        assert len(await driver.list_resources()) == 1
        await driver.close()


async def test_an_engine_that_goes_away_and_comes_back(tmp_path: Path, instance: str, engine: DockerEngine) -> None:
    with CuttableSocket(tmp_path / "engine.sock") as wire:
        driver = DockerEngine(wire.url, instance=instance)
        spec = container(instance, "net", role="net")
        await driver.ensure(spec)
        events = driver.events()
        following = asyncio.create_task(_until_broken(driver, events))
        waiting = asyncio.create_task(driver.wait_exit(spec.name))
        running = asyncio.create_task(driver.exec(spec.name, ["sleep", "60"], timeout=50))
        await asyncio.sleep(0.5)

        wire.cut()
        async with asyncio.timeout(10):
            ended = await asyncio.gather(following, waiting, running, return_exceptions=True)
        with pytest.raises(EngineUnavailable):
            await driver.list_containers(cluster_id(instance))
        wire.give_back()

        assert {type(result) for result in ended} == {EngineUnavailable}
        assert [status.state for status in await driver.list_containers(cluster_id(instance))] == ["running"]
        await driver.close()


async def test_an_engine_that_goes_down_ends_containers_and_nobody_takes_it_for_their_own_end(
    tmp_path: Path, instance: str, engine: DockerEngine
) -> None:
    """A stopping engine still serves open connections: it reports ended containers, and refuses with odd errors."""
    net = container(instance, "net", role="net")
    with CuttableSocket(tmp_path / "engine.sock") as wire:
        driver = DockerEngine(wire.url, instance=instance)
        await driver.ensure(net)
        waiting = asyncio.create_task(driver.wait_exit(net.name))
        await asyncio.sleep(0.5)
        # Leaves connections that are kept for further calls.
        await asyncio.gather(*(driver.info() for _ in range(4)))
        wire.take_no_more()

        with pytest.raises(EngineUnavailable, match="stopped answering"):
            await driver.ensure(container(instance, "node01", joins="dayfly-none-net"))
        await engine.stop(net.name)
        with pytest.raises(EngineUnavailable):
            await waiting

        wire.give_back()
        assert await driver.wait_exit(net.name) == 137
        with pytest.raises(EngineRefused):
            await driver.ensure(container(instance, "node01", joins="dayfly-none-net"))
        await driver.close()


async def _until_broken(driver: DockerEngine, events: AsyncIterator[object]) -> None:
    async with aclosing(events):  # type: ignore[type-var]
        async for _ in events:
            pass
