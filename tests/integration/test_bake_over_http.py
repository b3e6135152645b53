"""Bakes over HTTP through a real service: `bare` from the cache, a cancellation, and a service that is killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from dayfly import assets
from dayfly.client import Client
from dayfly.settings import Settings
from tests.support.service import Service, docker, running_service

pytestmark = pytest.mark.bake

_LIMIT_SECONDS: Final = 1800.0
NAME: Final = "bare-over-http"


@pytest.fixture(scope="module")
def baking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that bakes, with the cache of the other bakes: what they built is not built again."""
    cache = str(Settings().cache_dir)
    folder = tmp_path_factory.mktemp("baking")
    with running_service(folder, bakes="serve", cache_dir=cache, lease_seconds="6") as service:
        yield service
    for reference in docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"dayfly/{NAME}").split():
        docker("image", "rm", "--force", reference)


@pytest.fixture
def client(baking: Service) -> Iterator[Client]:
    with Client(baking.url) as client:
        yield client


def definition(**fields: Any) -> dict[str, Any]:
    """`bare` under another name: its base comes from the cache of `bare`, its image is new."""
    content: dict[str, Any] = {"extends": "bare", "name": NAME, "description": "bare, baked over HTTP", **fields}
    return content


def until(enough: Callable[[], object], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not enough():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def assert_nothing_is_left(service: Service) -> None:
    """No unfinished image, verification, folder, mount or process of a bake."""
    assert ":unfinished" not in docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"dayfly/{NAME}")
    label = f"label=dayfly.instance={service.instance}.bake"
    assert docker("ps", "--all", "--quiet", "--filter", label) == ""
    cache = Settings().cache_dir
    assert [path.name for path in cache.glob(f".new-{NAME}*")] == []
    assert f"{cache}/.new-{NAME}" not in Path("/proc/self/mountinfo").read_text()
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.exists()]
    assert not any(f".new-{NAME}".encode() in line for line in lines)


def test_bare_is_baked_and_verified(client: Client, baking: Service) -> None:
    bake = client.create_bake(definition=definition())
    ended = client.wait_bake(bake.id, timeout_seconds=_LIMIT_SECONDS)
    assert ended.image is not None
    assert ended.image.startswith(f"dayfly/{NAME}:")
    found = docker("image", "inspect", "--format", "{{.Id}}", ended.image).strip()
    assert found == ended.image_id == docker("image", "inspect", "--format", "{{.Id}}", f"dayfly/{NAME}:latest").strip()
    events = client.all_bake_events(bake.id)
    done = {event.step for event in events if event.type == "step.done"}
    assert {"node", "disk", "image", "verify"} <= done
    assert any(event.type == "line" and event.step == "node" for event in events)
    verify = yaml.safe_load((assets.provisioning() / "recipes" / "bare.yaml").read_text())["verify"]
    said = [event.message for event in events if event.step == "verify"]
    assert [command for command in verify if command not in said] == []
    assert_nothing_is_left(baking)


def test_the_same_inputs_are_not_baked_again(client: Client) -> None:
    first = client.wait_bake(client.create_bake("bare").id, timeout_seconds=_LIMIT_SECONDS)
    before = docker("image", "inspect", "--format", "{{.Id}}", "dayfly/bare:latest").strip()
    assert first.image_id == before
    again = client.create_bake("bare")
    assert client.wait_bake(again.id, timeout_seconds=_LIMIT_SECONDS).image == first.image
    assert "verify" not in {event.step for event in client.all_bake_events(again.id)}


def test_a_cancelled_bake_leaves_nothing(client: Client, baking: Service) -> None:
    bake = client.create_bake(definition=definition(packages=["tree"]))
    until(lambda: any(event.type == "line" for event in client.all_bake_events(bake.id)))
    client.cancel_bake(bake.id)
    until(lambda: client.bake(bake.id).phase == "cancelled", 120)
    assert_nothing_is_left(baking)


def test_the_bake_of_a_service_that_was_killed_is_taken_up_again(client: Client, baking: Service) -> None:
    bake = client.create_bake(definition=definition(verify=["true"]))
    until(lambda: any(event.step == "verify" for event in client.all_bake_events(bake.id)), _LIMIT_SECONDS)
    baking.restart("serve")
    ended = client.wait_bake(bake.id, timeout_seconds=_LIMIT_SECONDS)
    assert ended.attempts == 2
    assert_nothing_is_left(baking)
