"""list_resources() and discard() among decoys, on the real engine and the fake: no foreign object is listed or removed.
removed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Container, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiodocker import Docker
from aiodocker.exceptions import DockerError
from aiodocker.types import JSONObject

from dayfly.domain.cluster.naming import LABEL_CLUSTER, LABEL_INSTANCE, LABEL_TEMPLATE
from dayfly.domain.engine_resource import EngineResource
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.interfaces import ContainerEngine
from dayfly.errors import EngineRefused
from dayfly.testing.fakes import FakeEngine
from tests.support.steps import BUSYBOX_IMAGE, busybox, cluster_id, container, images, instance

__all__ = ["busybox", "images", "instance"]
pytestmark = pytest.mark.docker

KINDS = ("container", "volume", "network")


class Ground:
    """An engine, and what is put there and looked at without the driver. Whatever was put there goes with the test."""

    def __init__(self, engine: ContainerEngine, docker: Docker | None) -> None:
        self.engine = engine
        self.docker = docker
        self._planted: list[tuple[str, str]] = []

    async def plant(self, kind: str, name: str, labels: Mapping[str, str]) -> None:
        if self.docker is None:
            assert isinstance(self.engine, FakeEngine)
            self.engine.plant(kind, name, labels)  # type: ignore[arg-type]
            return
        self._planted.append((kind, name))
        if kind == "container":
            config: JSONObject = {
                "Image": BUSYBOX_IMAGE,
                "Cmd": ["sleep", "3600"],
                "Labels": dict(labels),
                "StopTimeout": 0,
            }
            await (await self.docker.containers.create(config, name=name)).start()
        elif kind == "volume":
            await self.docker.volumes.create({"Name": name, "Labels": dict(labels)})  # type: ignore[no-untyped-call]
        else:
            await self.docker.networks.create({"Name": name, "Labels": dict(labels)})

    async def is_there(self, kind: str, name: str) -> bool:
        if self.docker is None:
            assert isinstance(self.engine, FakeEngine)
            things: dict[str, Container[str]] = {
                "container": self.engine.containers,
                "volume": self.engine.volumes,
            }
            return name in things.get(kind, self.engine.networks)
        return await _there(self.docker._query_json(f"{kind}s/{name}{'/json' if kind == 'container' else ''}"))

    async def clear(self) -> None:
        if self.docker is not None:
            for kind, name in self._planted:
                force = {"force": "true"} if kind == "container" else {}
                await _there(self._delete(f"{kind}s/{name}", force))

    async def _delete(self, path: str, params: Mapping[str, str]) -> None:
        assert self.docker is not None
        async with self.docker._query(path, method="DELETE", params=params):
            pass


async def _there(asked: Awaitable[object]) -> bool:
    try:
        await asked
    except DockerError as error:
        if error.status != 404:
            raise
        return False
    return True


@pytest.fixture(params=["docker", "fake"])
async def ground(request: pytest.FixtureRequest, instance: str, busybox: str) -> AsyncIterator[Ground]:
    if request.param == "fake":
        yield Ground(FakeEngine(instance=instance, images={busybox}), None)
        return
    engine = DockerEngine(instance=instance)
    async with Docker() as docker:
        ground = Ground(engine, docker)
        yield ground
        await ground.clear()
        await engine.remove(cluster_id(instance))
        await engine.close()


@pytest.fixture
async def decoys(ground: Ground, instance: str) -> list[tuple[str, str]]:
    """(kind, name) of things that are not ours, however much they look it."""
    cluster = cluster_id(instance)
    labels: dict[str, dict[str, str]] = {
        "none": {},
        "no-instance": {LABEL_CLUSTER: cluster},
        "longer": {LABEL_CLUSTER: cluster, LABEL_INSTANCE: f"{instance}0"},
        "shorter": {LABEL_CLUSTER: cluster, LABEL_INSTANCE: instance[:-1]},
        "upper": {LABEL_CLUSTER: cluster, LABEL_INSTANCE: instance.upper()},
        "empty": {LABEL_CLUSTER: cluster, LABEL_INSTANCE: ""},
        "value-as-key": {instance: LABEL_INSTANCE, f"{LABEL_INSTANCE}.{instance}": instance},
        "other-key": {f"x{LABEL_INSTANCE}": instance, f"{LABEL_INSTANCE}2": instance},
    }
    planted = [(kind, f"dayfly-{cluster}-{name}") for kind in KINDS for name in labels]
    for kind, name in planted:
        await ground.plant(kind, name, labels[name.removeprefix(f"dayfly-{cluster}-")])
    return planted


async def test_only_what_carries_our_label_is_shown(
    ground: Ground, instance: str, decoys: list[tuple[str, str]]
) -> None:
    cluster = cluster_id(instance)
    await ground.engine.ensure(container(instance, "net", role="net"))
    await ground.engine.stop(f"dayfly-{cluster}-net")
    await ground.plant("container", f"{instance}-c", {LABEL_INSTANCE: instance})
    await ground.plant("volume", f"{instance}-v", {LABEL_INSTANCE: instance, LABEL_CLUSTER: cluster})
    await ground.plant("network", f"{instance}-n", {LABEL_INSTANCE: instance, LABEL_CLUSTER: "gone"})

    seen = {(each.kind, each.name): (each.cluster_id, each.running) for each in await ground.engine.list_resources()}

    assert seen == {
        ("container", f"dayfly-{cluster}-net"): (cluster, False),
        ("container", f"{instance}-c"): ("", True),
        ("volume", f"{instance}-v"): (cluster, False),
        ("network", f"{instance}-n"): ("gone", False),
    }


async def test_what_is_shown_can_be_removed_and_nothing_else_goes(
    ground: Ground, instance: str, decoys: list[tuple[str, str]]
) -> None:
    for kind in KINDS:
        await ground.plant(kind, f"{instance}-{kind}", {LABEL_INSTANCE: instance})
    held = await ground.engine.list_resources()
    assert {each.kind for each in held} == set(KINDS)

    for resource in held:
        await ground.engine.discard(resource)
        # Already removed: no error.
        await ground.engine.discard(resource)

    assert await ground.engine.list_resources() == ()
    for kind in KINDS:
        assert not await ground.is_there(kind, f"{instance}-{kind}")
    for kind, name in decoys:
        assert await ground.is_there(kind, name), (kind, name)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_holding_that_was_never_ours_is_refused(ground: Ground, instance: str, kind: str) -> None:
    """As after a defect of the listing: discard() asks the engine again before a removal."""
    other = DockerEngine(instance=f"{instance}0") if isinstance(ground.engine, DockerEngine) else ground.engine
    await ground.plant(kind, f"{instance}-theirs", {LABEL_INSTANCE: f"{instance}0", LABEL_CLUSTER: "c"})
    if isinstance(other, FakeEngine):
        other.instance = f"{instance}0"
    (theirs,) = await other.list_resources()
    if isinstance(other, FakeEngine):
        other.instance = instance
    else:
        await other.close()

    with pytest.raises(EngineRefused, match="it is kept"):
        await ground.engine.discard(theirs)

    assert await ground.is_there(kind, f"{instance}-theirs")


async def test_a_name_that_was_used_again_is_another_thing(ground: Ground, instance: str) -> None:
    name, labels = f"{instance}-again", {LABEL_INSTANCE: instance}
    await ground.plant("container", name, labels)
    (before,) = await ground.engine.list_resources()
    await ground.engine.discard(before)
    await ground.plant("container", name, labels)

    await ground.engine.discard(before)

    (after,) = await ground.engine.list_resources()
    assert after.name == name
    assert after.id != before.id


async def test_what_got_another_owner_meanwhile_is_refused(ground: Ground, instance: str) -> None:
    labels = {LABEL_INSTANCE: instance, LABEL_CLUSTER: "now", LABEL_TEMPLATE: "shown"}
    await ground.plant("volume", f"{instance}-v", labels)
    (seen,) = await ground.engine.list_resources()
    assert (seen.cluster_id, seen.template_id) == ("now", "shown")

    for other in (replace(seen, cluster_id="before"), replace(seen, template_id="before")):
        with pytest.raises(EngineRefused, match="it is kept"):
            await ground.engine.discard(other)

    assert await ground.engine.list_resources() == (seen,)


async def test_a_volume_or_network_in_use_is_refused(ground: Ground, instance: str) -> None:
    for kind in ("volume", "network"):
        await ground.plant(kind, f"{instance}-{kind}", {LABEL_INSTANCE: instance})
    held: list[EngineResource] = sorted(await ground.engine.list_resources(), key=lambda each: each.kind)
    async with _user(ground, instance):
        for resource in held:
            with pytest.raises(EngineRefused):
                await ground.engine.discard(resource)
        assert sorted(await ground.engine.list_resources(), key=lambda each: each.kind) == held


@asynccontextmanager
async def _user(ground: Ground, instance: str) -> AsyncIterator[None]:
    """Within the block, a container uses the volume and the network."""
    if ground.docker is None:
        assert isinstance(ground.engine, FakeEngine)
        ground.engine.in_use |= {f"{instance}-volume", f"{instance}-network"}
        yield
        return
    host: JSONObject = {"Binds": [f"{instance}-volume:/data"], "NetworkMode": f"{instance}-network"}
    config: JSONObject = {"Image": BUSYBOX_IMAGE, "Cmd": ["sleep", "3600"], "HostConfig": host}
    user = await ground.docker.containers.create(config, name=f"{instance}-user")
    try:
        await user.start()
        yield
    finally:
        await user.delete(force=True)
