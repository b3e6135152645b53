"""Volumes get their labels before their containers exist, and removals are verified: on engines' recorded answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from dayfly.domain.cluster.naming import LABEL_CLUSTER, LABEL_INSTANCE, LABEL_TEMPLATE, saved_volume, volume_owner
from dayfly.domain.cluster.topology import Volume
from dayfly.domain.engine_resource import EngineResource
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.docker.images import DockerImages
from dayfly.errors import EngineRefused, NotRemoved
from tests.support.recorded_engine import DOCKER_26, PODMAN_5, Answer, Asked, RecordedEngine, recorded_engine
from tests.support.steps import container

Connect = Callable[[RecordedEngine], DockerEngine]

INSTANCE = "test-1"
LABELS = {LABEL_CLUSTER: "c1", LABEL_INSTANCE: INSTANCE}
SAVED = saved_volume("c1")
GONE: Answer = (404, {"message": f"no volume with name {SAVED!r} found: no such volume"})


@pytest.fixture(params=["docker", "podman"])
async def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RecordedEngine]:
    async with recorded_engine(tmp_path, DOCKER_26 if request.param == "docker" else PODMAN_5) as engine:
        engine.answers["GET", "containers/json"] = (200, [])
        engine.answers["GET", "networks"] = (200, [])
        engine.answers["GET", "volumes"] = (200, {"Volumes": []})
        yield engine


@pytest.fixture
async def podman(tmp_path: Path) -> AsyncIterator[RecordedEngine]:
    async with recorded_engine(tmp_path, PODMAN_5) as engine:
        engine.answers["GET", "containers/json"] = (200, [])
        engine.answers["GET", "networks"] = (200, [])
        engine.answers["GET", "volumes"] = (200, {"Volumes": []})
        yield engine


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """A driver of the engine that is given; closed with the test."""
    opened: list[DockerEngine] = []

    def connected(engine: RecordedEngine) -> DockerEngine:
        opened.append(DockerEngine(engine.url, instance=INSTANCE))
        return opened[-1]

    yield connected
    for driver in opened:
        await driver.close()


def _volume(labels: dict[str, str], name: str = SAVED) -> dict[str, Any]:
    return {"Name": name, "Driver": "local", "Labels": labels, "Mountpoint": "/x", "Scope": "local"}


async def test_a_volume_is_made_with_its_labels_before_its_container(
    recorded: RecordedEngine, connect: Connect
) -> None:
    recorded.answers["POST", "volumes/create"] = lambda asked: (201, _volume(asked.body["Labels"]))
    recorded.answers["GET", f"volumes/{SAVED}"] = (200, _volume(LABELS))
    recorded.answers["POST", "containers/create"] = (201, {"Id": "0f", "Warnings": []})
    recorded.answers["POST", "containers/0f/start"] = (204, None)
    engine = connect(recorded)

    await engine.ensure(container(INSTANCE, "node01", cluster="c1", volumes=(Volume(SAVED, "/saved", LABELS),)))

    assert recorded.requests("POST") == ["volumes/create", "containers/create", "containers/0f/start"]
    assert recorded.asked[-4].body == {"Name": SAVED, "Labels": LABELS}


async def test_a_volume_of_another_installation_is_not_mounted(recorded: RecordedEngine, connect: Connect) -> None:
    theirs = _volume({**LABELS, LABEL_INSTANCE: "theirs"})
    recorded.answers["POST", "volumes/create"] = (201, theirs)
    recorded.answers["GET", f"volumes/{SAVED}"] = (200, theirs)
    engine = connect(recorded)

    with pytest.raises(EngineRefused, match="does not belong to this installation"):
        await engine.ensure(container(INSTANCE, "node01", cluster="c1", volumes=(Volume(SAVED, "/saved", LABELS),)))

    assert recorded.requests("POST") == ["volumes/create"]


async def test_podmans_words_for_a_name_that_is_taken(podman: RecordedEngine, connect: Connect) -> None:
    taken = (
        'container create: creating container storage: the container name "dayfly-c1-node01" is already in use by 68. '
        "You have to remove that container to be able to reuse that name: that name is already in use"
    )
    shown = {"Id": "68", "Name": "/dayfly-c1-node01", "Config": {"Labels": LABELS}, "State": {"Status": "stopped"}}
    podman.answers["POST", "containers/create"] = (500, {"message": taken})
    podman.answers["GET", "containers/dayfly-c1-node01/json"] = (200, shown)
    podman.answers["POST", "containers/68/start"] = (204, None)
    engine = connect(podman)

    await engine.ensure(container(INSTANCE, "node01", cluster="c1"))

    assert podman.requests("POST")[-1] == "containers/68/start", "adopted, and started again"


async def test_a_volume_that_survives_its_removal_is_a_failure(recorded: RecordedEngine, connect: Connect) -> None:
    recorded.answers["GET", "volumes"] = (200, {"Volumes": [_volume(LABELS)]})
    recorded.answers["DELETE", f"volumes/{SAVED}"] = (204, None)
    recorded.answers["GET", f"volumes/{SAVED}"] = (200, _volume(LABELS))
    engine = connect(recorded)

    with pytest.raises(NotRemoved, match=SAVED):
        await engine.remove("c1")
    with pytest.raises(NotRemoved, match=SAVED):
        await engine.discard(EngineResource("volume", SAVED, SAVED, "c1"))


async def test_a_network_that_survives_its_removal_is_a_failure(recorded: RecordedEngine, connect: Connect) -> None:
    network = {"Name": "n", "Id": "0a", "Labels": LABELS}
    recorded.answers["GET", "networks"] = (200, [network])
    recorded.answers["GET", "networks/0a"] = (200, network)
    recorded.answers["DELETE", "networks/0a"] = (204, None)
    engine = connect(recorded)

    with pytest.raises(NotRemoved, match="network n"):
        await engine.remove("c1")


async def test_podman_is_not_asked_to_remove_a_network_under_a_container(
    podman: RecordedEngine, connect: Connect
) -> None:
    network = {"Name": "n", "Id": "0a", "Labels": LABELS, "Containers": {"68": {"Name": "user"}}}
    podman.answers["GET", "networks/0a"] = (200, network)
    engine = connect(podman)

    with pytest.raises(EngineRefused, match="in use"):
        await engine.discard(EngineResource("network", "0a", "n", "c1"))

    assert podman.requests("DELETE") == []


async def test_an_image_that_survives_its_removal_is_a_failure(recorded: RecordedEngine) -> None:
    image = {"Id": "sha256:1", "RepoTags": ["dayfly/x:1"], "Config": {"Labels": None}, "Size": 1, "Created": ""}
    recorded.answers["DELETE", "images/dayfly/x:1"] = (200, [{"Untagged": "dayfly/x:1"}])
    recorded.answers["GET", "images/dayfly/x:1/json"] = (200, image)
    images = DockerImages(recorded.url)
    try:
        with pytest.raises(NotRemoved, match="dayfly/x:1"):
            await images.remove("dayfly/x:1")
    finally:
        await images.close()


async def test_what_the_engines_filter_shows_too_much_is_left_alone(recorded: RecordedEngine, connect: Connect) -> None:
    others = {LABEL_CLUSTER: "c1", LABEL_INSTANCE: "test-10"}
    recorded.answers["GET", "volumes"] = (200, {"Volumes": [_volume(others), _volume({}, "x")]})
    recorded.answers["GET", "networks"] = (200, [{"Name": "n", "Id": "0a", "Labels": others}])
    listed = {"Id": "0f", "Names": ["/x"], "Labels": others, "State": "running", "Ports": []}
    recorded.answers["GET", "containers/json"] = (200, [listed])
    engine = connect(recorded)

    await engine.remove("c1")

    assert recorded.requests("DELETE") == []


async def test_a_volume_without_labels_goes_by_its_exact_name_on_podman_alone(
    recorded: RecordedEngine, connect: Connect
) -> None:
    """Versions before 0.3 left them there: Podman ignores the labels that a mount gives."""
    there = {SAVED}

    def removed(asked: Asked) -> Answer:
        there.remove(asked.path.partition("/")[2])
        return 204, None

    recorded.answers["GET", f"volumes/{SAVED}"] = lambda _: (200, _volume({})) if SAVED in there else GONE
    recorded.answers["DELETE", f"volumes/{SAVED}"] = removed
    engine = connect(recorded)

    await engine.remove("c1")

    is_podman = recorded.answers["GET", "version"] == (200, PODMAN_5)
    assert recorded.requests("DELETE") == ([f"volumes/{SAVED}"] if is_podman else [])


async def test_the_survey_shows_volumes_without_labels_on_podman_alone(
    recorded: RecordedEngine, connect: Connect
) -> None:
    listed = [
        _volume({}),
        _volume({}, "dayfly-template-t1"),
        _volume({}, "dayfly-c1"),
        _volume({LABEL_TEMPLATE: "t2"}, "dayfly-template-t2"),
        _volume({LABEL_INSTANCE: "another"}, "dayfly-c2-saved"),
    ]
    recorded.answers["GET", "volumes"] = (200, {"Volumes": listed})
    engine = connect(recorded)

    seen = await engine.list_resources()

    is_podman = recorded.answers["GET", "version"] == (200, PODMAN_5)
    assert is_podman == all("filters" not in one.query for one in recorded.asked if one.path == "volumes")
    unlabelled = {(one.name, one.cluster_id, one.template_id) for one in seen if not one.labelled}
    if is_podman:
        assert unlabelled == {(SAVED, "c1", ""), ("dayfly-template-t1", "", "t1")}
    assert all(not one.labelled for one in seen)


async def test_a_volume_that_has_got_labels_since_the_survey_is_left_alone(
    podman: RecordedEngine, connect: Connect
) -> None:
    podman.answers["GET", f"volumes/{SAVED}"] = (200, _volume({LABEL_INSTANCE: "another"}))
    engine = connect(podman)

    with pytest.raises(EngineRefused, match="it is kept"):
        await engine.discard(EngineResource("volume", SAVED, SAVED, "c1", labelled=False))

    assert podman.requests("DELETE") == []


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("dayfly-c1-saved", ("c1", "")),
        ("dayfly-template-t1", ("", "t1")),
        ("dayfly-c1-saved2", None),
        ("my-dayfly-c1-saved", None),
        ("dayfly--saved", None),
    ],
)
def test_whose_a_volume_is_by_its_name(name: str, owner: tuple[str, str] | None) -> None:
    assert volume_owner(name) == owner
