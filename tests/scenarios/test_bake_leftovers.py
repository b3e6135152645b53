"""What a bake that was killed leaves on the engine and in the cache, and its removal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from dayfly.clock import SystemClock
from dayfly.controllers.bakes.leftovers import Leftovers
from dayfly.domain.bake import verification_cluster
from dayfly.domain.cluster.topology import Publication, compute_topology
from dayfly.errors import BakeFailed, EngineUnavailable
from dayfly.images.bake import image_lock, unfinished_image
from dayfly.images.cache import Cache
from dayfly.testing.fakes import FakeEngine, FakeImages
from tests.support.specs import make_spec


class Killed:
    """An engine and a cache after bakes of `bare` and of `k8s.1` were killed during their verification."""

    def __init__(self, folder: Path) -> None:
        self.engine, self.images, self.cache = FakeEngine(), FakeImages(), folder / "cache"
        self.leftovers = Leftovers(self.engine, self.images, self.cache, SystemClock())

    async def prepare(self) -> None:
        for recipe in ("bare", "k8s.1"):
            self.images.add(unfinished_image(recipe))
            self.images.add(f"dayfly/{recipe}:latest", {"of": recipe})
            topology = compute_topology(
                verification_cluster(recipe),
                make_spec(),
                instance="default",
                accelerator="tcg",
                publication=Publication("127.0.0.1", None),
            )
            await self.engine.ensure(topology.net)
        async with Cache(self.cache, SystemClock()):
            (self.cache / ".new-bare.node-1.x").mkdir()

    def references(self) -> set[str]:
        return {name for image in self.images.stored.values() for name in image.references}


@pytest.fixture
async def killed(tmp_path: Path) -> Killed:
    made = Killed(tmp_path)
    await made.prepare()
    return made


async def test_everything_of_the_recipe_is_removed_and_nothing_of_others(killed: Killed) -> None:
    for _ in range(2):
        await killed.leftovers.remove("bare")
    assert killed.references() == {"dayfly/bare:latest", "dayfly/k8s.1:latest", "dayfly/k8s.1:unfinished"}
    assert all("verify-k8s-1" in name for name in killed.engine.containers)
    assert killed.engine.containers
    assert not list(killed.cache.glob(".new-*"))
    await killed.leftovers.remove("k8s.1")
    assert not killed.engine.containers


async def test_a_bake_of_the_recipe_that_runs_is_left_alone(killed: Killed) -> None:
    async with Cache(killed.cache, SystemClock()) as cache:
        async with cache.alone(image_lock("bare"), lambda: None):
            removing = asyncio.create_task(killed.leftovers.remove("bare"))
            await asyncio.wait({removing}, timeout=0.2)
            assert unfinished_image("bare") in killed.references()
        await removing
    assert unfinished_image("bare") not in killed.references()


async def test_an_engine_that_is_away_is_told(killed: Killed) -> None:
    killed.images.fail_always(EngineUnavailable("away"), "remove")
    with pytest.raises(EngineUnavailable):
        await killed.leftovers.remove("bare")


async def test_a_cache_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    leftovers = Leftovers(FakeEngine(), FakeImages(), tmp_path / "file" / "cache", SystemClock())
    with pytest.raises(BakeFailed, match="cache"):
        await leftovers.remove("bare")
