"""Scheduled rebuilds: which news queue a bake, which queue none, and what the bake is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from dayfly import metrics
from dayfly.assets import provisioning
from dayfly.controllers.bakes.rebuilds import Rebuilds
from dayfly.controllers.image_catalog import ImageCatalog
from dayfly.domain.bake import Bake
from dayfly.domain.bake_rebuild import RebuildRule
from dayfly.domain.cluster.naming import LABEL_CONTENTS, LABEL_IMAGE
from dayfly.domain.image import ImageContents
from dayfly.errors import BakeFailed, InvalidRequest
from dayfly.images.plan import BakePlan, make_plan
from dayfly.images.recipe import Base
from dayfly.store import Store
from dayfly.testing.fake_images import FakeImages
from tests.support.clock import FakeClock
from tests.support.node_images import manifest_of

PACKAGES = {"openssl": "3.0.11", "zlib1g": "1:1.2"}
INPUTS = make_plan("bare", provisioning()).inputs


@dataclass
class Archive:
    """What the distribution has, and the rebuilds that look at it. `fail`: errors of the next looks."""

    store: Store
    images: FakeImages = field(default_factory=FakeImages)
    newest: dict[str, str] = field(default_factory=dict)
    fail: list[Exception] = field(default_factory=list)
    asked: int = 0

    def rebuilds(self, *rules: RebuildRule, interval: float = 3600.0) -> Rebuilds:
        catalog = ImageCatalog(self.images, self.store)
        return Rebuilds(rules or (RebuildRule("bare"),), interval, catalog, _plan, self._newest, FakeClock())

    async def _newest(self, base: Base, installed: Mapping[str, str]) -> Mapping[str, str]:
        self.asked += 1
        assert base.suite == "bookworm"
        if self.fail:
            raise self.fail.pop(0)
        return {name: self.newest.get(name, version) for name, version in installed.items()}

    def baked(self, digest: str = INPUTS, *, recipe: str = "bare", **contents: object) -> None:
        """The newest image of the recipe."""
        manifest = manifest_of(digest, None, recipe)
        labels = {LABEL_IMAGE: manifest.model_dump_json()}
        if contents.pop("says", True):
            given: dict[str, object] = {"packages": PACKAGES, "inputs": INPUTS, **contents}
            labels[LABEL_CONTENTS] = ImageContents(digest=digest, **given).model_dump_json()
        self.images.add(f"dayfly/{recipe}:{digest[:12]}", labels)

    async def queued(self) -> list[Bake]:
        return list((await self.store.bakes.list()).bakes)


def _plan(recipe: str) -> BakePlan:
    return make_plan(recipe, provisioning())


@pytest.fixture
def archive(store: Store) -> Archive:
    return Archive(store)


async def test_newer_packages_queue_a_bake_that_says_which(archive: Archive) -> None:
    archive.baked()
    rebuilds = archive.rebuilds(RebuildRule("bare", promote=True))
    assert await rebuilds.check(rebuilds.rules[0]) == ""
    assert await archive.queued() == []
    archive.newest = {"openssl": "3.0.14"}
    assert await rebuilds.check(rebuilds.rules[0]) == "openssl 3.0.11 → 3.0.14"
    [bake] = await archive.queued()
    assert (bake.order.recipe, bake.order.promote, bake.owner) == ("bare", True, "default")
    [event] = await archive.store.bakes.events(bake.id)
    assert event.type == "queued"
    assert event.message.endswith(": openssl 3.0.11 → 3.0.14")
    assert "scheduled rebuild of sha256:" in event.message
    assert await rebuilds.check(rebuilds.rules[0]) == "", "one is queued"
    await archive.store.bakes.cancel(bake.id)
    assert await rebuilds.check(rebuilds.rules[0]) != ""


async def test_the_same_news_make_no_second_image(archive: Archive) -> None:
    """Such as a package that the archive has, and that the recipe holds back."""
    archive.baked()
    archive.newest = {"openssl": "3.0.14"}
    rebuilds = archive.rebuilds()
    await rebuilds.check(rebuilds.rules[0])
    [bake] = await archive.queued()
    await archive.store.bakes.cancel(bake.id)
    archive.baked("b" * 64, state=bake.order.state)
    assert await rebuilds.check(rebuilds.rules[0]) == ""
    archive.newest["zlib1g"] = "1:1.3"
    assert "zlib1g 1:1.2 → 1:1.3" in await rebuilds.check(rebuilds.rules[0])


async def test_a_changed_recipe_is_news_and_so_are_unknown_packages(archive: Archive) -> None:
    archive.baked("a" * 64, inputs="another key")
    rebuilds = archive.rebuilds()
    assert await rebuilds.check(rebuilds.rules[0]) == "its recipe, base or roles have changed"
    await archive.store.bakes.cancel((await archive.queued())[0].id)
    archive.images.stored.clear()
    archive.baked(says=False)
    assert "its packages are not known" in await rebuilds.check(rebuilds.rules[0])


async def test_only_an_image_that_the_recipe_gave_is_compared(archive: Archive) -> None:
    rebuilds = archive.rebuilds()
    archive.newest = {"openssl": "3.0.14"}
    assert await rebuilds.check(rebuilds.rules[0]) == "", "there is no image"
    archive.baked("a" * 64, recipe="other")
    archive.baked("b" * 64, variant=True)
    assert await rebuilds.check(rebuilds.rules[0]) == ""
    assert archive.asked == 0


@pytest.mark.parametrize("recipe", ["bare-writeboost", "k8s-debian-iscsi"])
async def test_a_layer_is_refused(archive: Archive, recipe: str) -> None:
    rebuilds = archive.rebuilds(RebuildRule(recipe))
    with pytest.raises(InvalidRequest, match="is a layer"):
        await rebuilds.check(rebuilds.rules[0])


def looks(result: str) -> float:
    return metrics.REGISTRY.get_sample_value("dayfly_rebuild_checks_total", {"result": result}) or 0.0


async def test_of_many_builders_one_looks_and_a_failure_is_repeated(archive: Archive) -> None:
    archive.baked()
    archive.newest = {"openssl": "3.0.14"}
    archive.fail = [BakeFailed("no mirror answers")]
    before = {result: looks(result) for result in ("failed", "queued", "nothing")}
    builders = [archive.rebuilds(interval=60.0) for _ in range(3)]
    running = [asyncio.create_task(one.run()) for one in builders]
    try:
        async with asyncio.timeout(20):
            while looks("failed") == before["failed"]:  # noqa: ASYNC110 - a metric has no event
                await asyncio.sleep(0.01)
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
    assert archive.asked == 1
    await archive.store.rebuilds.repeat_check("bare", 0.0)
    await builders[0]._look(builders[0].rules[0])
    assert len(await archive.queued()) == 1
    assert looks("queued") == before["queued"] + 1
    await builders[1]._look(builders[1].rules[0])
    assert archive.asked == 2, "not before the interval is over"
