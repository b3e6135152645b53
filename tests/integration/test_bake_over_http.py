"""Bakes over HTTP through a real service: an image, a cancellation, and a service that is killed.

Each test has a service and a recipe of its own, which extends `bare` and takes its base from the cache of `bare`.
"""

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
from tests.integration.test_bake import processes_in
from tests.support.service import Service, docker, running_service

pytestmark = [pytest.mark.bake, pytest.mark.vm, pytest.mark.timeout(1900)]

_LIMIT_SECONDS: Final = 1700.0


class Baking:
    """A service that bakes, and a recipe that no other test has."""

    def __init__(self, service: Service, client: Client, recipe: str) -> None:
        self.service, self.client, self.recipe = service, client, recipe
        self.cache = Settings().cache_dir

    def definition(self, **fields: Any) -> dict[str, Any]:
        return {"extends": "bare", "name": self.recipe, "description": "bare, baked over HTTP", **fields}

    def until(self, enough: Callable[[], object], seconds: float = _LIMIT_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def assert_nothing_is_left(self) -> None:
        """No unfinished image, machine, folder, mount or process of a bake."""
        assert ":unfinished" not in " ".join(self.images())
        label = f"label=dayfly.instance={self.service.instance}.bake"
        assert docker("ps", "--all", "--quiet", "--filter", label) == ""
        unfinished = f".new-{self.recipe}"
        assert [path.name for path in self.cache.glob(f"{unfinished}*")] == []
        assert unfinished not in Path("/proc/self/mountinfo").read_text()
        assert [words for words in processes_in(self.cache) if unfinished in words] == []

    def images(self) -> list[str]:
        return docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"dayfly/{self.recipe}").split()


@pytest.fixture
def baking(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Baking]:
    recipe = f"bare-{request.node.name.split('_')[1]}"
    settings = {"bakes": "serve", "cache_dir": str(Settings().cache_dir), "lease_seconds": "6"}
    with running_service(tmp_path, **settings) as service, Client(service.url) as client:
        made = Baking(service, client, recipe)
        try:
            yield made
        finally:
            for reference in made.images():
                docker("image", "rm", "--force", reference)


def image_id(reference: str) -> str:
    return docker("image", "inspect", "--format", "{{.Id}}", reference).strip()


def test_verified_image(baking: Baking) -> None:
    client = baking.client
    bake = client.create_bake(definition=baking.definition())
    ended = client.wait_bake(bake.id, timeout_seconds=_LIMIT_SECONDS)
    assert ended.image is not None
    assert ended.image.startswith(f"dayfly/{baking.recipe}:")
    assert image_id(ended.image) == image_id(f"dayfly/{baking.recipe}:latest") == ended.image_id
    events = client.all_bake_events(bake.id)
    done = {event.step for event in events if event.type == "step.done"}
    cached = {event.step for event in events if event.type == "step.cached"}
    assert {"image", "verify"} <= done
    assert {"base", "node", "disk"} <= done | cached
    verify = yaml.safe_load((assets.provisioning() / "recipes" / "bare.yaml").read_text())["verify"]
    said = [event.message for event in events if event.step == "verify"]
    assert [command for command in verify if command not in said] == []
    baking.assert_nothing_is_left()
    again = client.create_bake(definition=baking.definition())
    assert client.wait_bake(again.id, timeout_seconds=_LIMIT_SECONDS).image_id == ended.image_id
    assert "verify" not in {event.step for event in client.all_bake_events(again.id)}, "the same inputs"


def test_existing_image_of_a_recipe_is_not_baked_again(baking: Baking) -> None:
    before = image_id("dayfly/bare:latest")
    bake = baking.client.create_bake("bare")
    assert baking.client.wait_bake(bake.id, timeout_seconds=_LIMIT_SECONDS).image_id == before


def test_cancelled_bake_leaves_nothing(baking: Baking) -> None:
    client = baking.client
    # One more package: the base is made from nothing, and takes its time.
    bake = client.create_bake(definition=baking.definition(packages=["tree"]))
    baking.until(lambda: any(event.type == "line" for event in client.all_bake_events(bake.id)))
    client.cancel_bake(bake.id)
    baking.until(lambda: client.bake(bake.id).phase == "cancelled", 150)
    baking.assert_nothing_is_left()


def test_killed_service_takes_its_bake_up_again(baking: Baking) -> None:
    client = baking.client
    bake = client.create_bake(definition=baking.definition())
    baking.until(lambda: any(event.step == "verify" for event in client.all_bake_events(bake.id)))
    baking.service.restart("serve")
    ended = client.wait_bake(bake.id, timeout_seconds=_LIMIT_SECONDS)
    assert ended.attempts == 2
    baking.assert_nothing_is_left()
