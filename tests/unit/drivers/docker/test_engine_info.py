"""Names of engines in their own answers, and Podman's container fields that differ from Docker's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from dayfly.domain.cluster.naming import LABEL_CLUSTER, LABEL_INSTANCE, LABEL_ROLE
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.docker.engine_info import engine_info
from dayfly.drivers.docker.images import DockerImages
from dayfly.errors import ContainerExited, EngineRefused
from tests.support.recorded_engine import DOCKER_26, PODMAN_5, RecordedEngine, recorded_engine

INFO = {
    "ServerVersion": "26.1.5+dfsg1",
    "KernelVersion": "6.12.0",
    "NCPU": 2,
    "MemTotal": 25276510208,
    "Driver": "overlay2",
    "DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]],
    "CgroupVersion": "1",
    "CgroupDriver": "cgroupfs",
    "DockerRootDir": "/var/lib/docker",
    "IPv4Forwarding": True,
    "SecurityOptions": ["name=seccomp,profile=builtin"],
}
CONTAINERD = INFO | {"Driver": "overlayfs", "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}
PODMAN = INFO | {
    "ServerVersion": "5.4.2",
    "Driver": "overlay",
    "DriverStatus": [["Supports d_type", "true"], ["Native Overlay Diff", "true"]],
    "DockerRootDir": "/var/lib/containers/storage",
    "Rootless": False,
}
LABELS = {LABEL_CLUSTER: "c1", LABEL_INSTANCE: "here", LABEL_ROLE: "net"}


@pytest.mark.parametrize(
    ("version", "info", "name", "api", "store"),
    [
        (DOCKER_26, INFO, "Docker", ("1.45", "1.24"), "overlay2 graph driver"),
        (DOCKER_26, CONTAINERD, "Docker", ("1.45", "1.24"), "containerd, overlayfs snapshotter"),
        (PODMAN_5, PODMAN, "Podman", ("1.41", "1.24"), "containers/storage, overlay"),
    ],
)
def test_an_engine_is_called_by_its_name(
    version: dict[str, Any], info: dict[str, Any], name: str, api: tuple[str, str], store: str
) -> None:
    found = engine_info(version, info)
    assert (found.name, found.version) == (name, info["ServerVersion"])
    assert (found.api_version, found.min_api_version) == api
    assert found.image_store == store
    assert bool(found.limitations) == (name == "Podman")


def test_rootless_engines_are_told_to_be() -> None:
    for info in (PODMAN | {"Rootless": True}, INFO | {"SecurityOptions": ["name=rootless"]}):
        assert any("without root" in one for one in engine_info(DOCKER_26, info).limitations)


@pytest.fixture
async def podman(tmp_path: Path) -> AsyncIterator[RecordedEngine]:
    async with recorded_engine(tmp_path, PODMAN_5) as engine:
        yield engine


@pytest.fixture
async def engine(podman: RecordedEngine) -> AsyncIterator[DockerEngine]:
    driver = DockerEngine(podman.url, instance="here")
    yield driver
    await driver.close()


def listed(state: str) -> dict[str, Any]:
    ports = [{"IP": "127.0.0.1", "PrivatePort": 22, "PublicPort": 20001, "Type": "tcp"}]
    return {"Id": "0f", "Names": ["/dayfly-c1-net"], "Labels": LABELS, "State": state, "Ports": ports}


async def test_a_stopped_container_has_no_endpoints(podman: RecordedEngine, engine: DockerEngine) -> None:
    podman.answers["GET", "containers/json"] = (200, [listed("running")])
    assert (await engine.endpoints("c1"))[22].port == 20001
    podman.answers["GET", "containers/json"] = (200, [listed("exited")])
    assert await engine.endpoints("c1") == {}


@pytest.mark.parametrize(
    ("theirs", "ours"), [("stopped", "exited"), ("stopping", "running"), ("initialized", "created")]
)
async def test_podmans_states(podman: RecordedEngine, engine: DockerEngine, theirs: str, ours: str) -> None:
    podman.answers["GET", "containers/json"] = (200, [listed(theirs)])
    state = {"Status": theirs, "ExitCode": 137, "StartedAt": "2026-11-28T11:00:41.82827365Z"}
    shown = {"Name": "dayfly-c1-net", "Config": {"Labels": LABELS}, "State": state, "Image": "sha256:1"}
    podman.answers["GET", "containers/0f/json"] = (200, shown)

    (seen,) = await engine.list_containers("c1")

    assert seen.state == ours


async def test_a_state_of_no_engine_so_far_is_named(podman: RecordedEngine, engine: DockerEngine) -> None:
    podman.answers["GET", "containers/json"] = (200, [listed("odd")])
    shown = {"Name": "dayfly-c1-net", "Config": {"Labels": LABELS}, "State": {"Status": "odd"}, "Image": "sha256:1"}
    podman.answers["GET", "containers/0f/json"] = (200, shown)

    with pytest.raises(EngineRefused, match="dayfly-c1-net is in a state that Dayfly does not know") as refused:
        await engine.list_containers("c1")
    assert refused.value.operator_detail == "odd"


async def test_a_command_in_what_does_not_run(podman: RecordedEngine, engine: DockerEngine) -> None:
    told = "can only create exec sessions on running containers: container state improper"
    podman.answers["POST", "containers/x/exec"] = (500, {"message": told})

    with pytest.raises(ContainerExited):
        await engine.exec("x", ["true"], timeout=5)


async def test_podmans_events(podman: RecordedEngine, engine: DockerEngine) -> None:
    def event(action: str, **more: str) -> str:
        attributes = {**LABELS, "name": "dayfly-c1-net", **more}
        actor = {"ID": "0f", "Attributes": attributes}
        return json.dumps({"Type": "container", "Action": action, "Actor": actor, "timeNano": 1795863642841833172})

    lines = [
        event("start", **{LABEL_CLUSTER: "c2"}),
        event("exec"),
        event("exec_died"),
        event("die", exitCode="137"),
        event("remove"),
    ]
    podman.answers["GET", "events"] = (200, "\n".join(lines) + "\n")

    seen = []
    async with asyncio.timeout(5), aclosing(engine.events("c1")) as events:  # type: ignore[type-var]
        async for one in events:
            seen.append((one.action, one.exit_code))
            if one.action == "destroy":
                break

    assert seen == [("die", 137), ("destroy", None)]


async def test_an_image_that_podman_makes_has_its_whole_id(podman: RecordedEngine, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "disk").write_text("x")
    shown = {"Id": "sha256:5d98", "RepoTags": ["dayfly/x:1"]}
    podman.answers["POST", "containers/create"] = (201, {"Id": "0f", "Warnings": []})
    podman.answers["PUT", "containers/dayfly-making-dayfly-x-1/archive"] = (200, None)
    podman.answers["POST", "commit"] = (201, {"Id": "5d98"})
    podman.answers["GET", "images/sha256:5d98/json"] = (200, shown)
    images = DockerImages(podman.url)
    try:
        made = await images.add_files("base", tmp_path / "files", "dayfly/x:1", labels={})
    finally:
        await images.close()
    assert made == "sha256:5d98"
