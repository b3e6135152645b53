"""Images that clusters, templates and pools use have a tag that keeps them from the bakes that come later."""

from __future__ import annotations

import asyncio

import pytest

from dayfly.controllers.image_catalog import ImageCatalog
from dayfly.controllers.images_in_use import ImagesInUse
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.image_catalog import is_in_use_reference
from dayfly.errors import EngineRefused, EngineUnavailable
from dayfly.images.former import remove_former_images
from dayfly.settings import Settings
from dayfly.store import NewPool, Store
from dayfly.testing.fake_images import FakeImages
from tests.support.clock import FakeClock
from tests.support.node_images import baked
from tests.support.specs import make_spec
from tests.support.template_controllers import Company
from tests.support.world import World


@pytest.fixture
def world(store: Store) -> World:
    return World(store, images=FakeImages())


def keeper(world: World, instance: str = "default") -> ImagesInUse:
    return ImagesInUse(Settings(instance=instance), ImageCatalog(world.images, world.store), FakeClock())


def digest_only(world: World, digest: str, *, days: int) -> str:
    """As a bake leaves an image of which a later one took the tag `latest`."""
    return baked(world.images, "k8s", digest * 12, days=days)


async def bakes_come_later(world: World) -> str:
    """Two more bakes of the recipe; the id of the last one."""
    former = baked(world.images, "k8s", "e" * 12, days=1)
    last = baked(world.images, "k8s", "f" * 12)
    await remove_former_images(world.images, "dayfly/k8s", current=last)
    assert former in world.images.stored
    return last


def tags(world: World, image_id: str) -> set[str]:
    return {name for name in world.images.stored[image_id].references if "in-use" in name}


async def test_what_is_in_use_outlives_later_bakes_until_its_use_ends(world: World) -> None:
    unused, of_cluster, of_template, of_pool, named = (
        digest_only(world, digit, days=10 - number) for number, digit in enumerate("abcd5")
    )
    cluster = await world.create(make_spec(image_id=of_cluster))
    company = Company(world.store)
    template = await company.make_template(make_spec(image_id=of_template))
    fixed = make_spec(image_id=of_pool).model_copy(update={"image": f"dayfly/k8s@{of_pool}"})
    pool = await world.store.pools.create(NewPool("pool", "default", fixed, 0, 0))
    follows = make_spec(image_id=named).model_copy(update={"image": "dayfly/k8s:latest"})
    await world.store.pools.create(NewPool("follows", "default", follows, 0, 0))
    one = keeper(world)
    await one.look()
    for image_id in (of_cluster, of_template, of_pool):
        assert tags(world, image_id) == {f"dayfly/in-use:default-{image_id[7:19]}"}
    last = await bakes_come_later(world)
    assert {of_cluster, of_template, of_pool, last} <= set(world.images.stored)
    assert {unused, named}.isdisjoint(world.images.stored)
    await world.store.lifecycle.delete(cluster.id)
    await world.store.pools.delete(pool.id)
    await world.store.templates.retire(template.id)
    await company.work()
    await world.store.templates.close()
    async with world.working():
        await world.until(cluster, Phase.DELETED)
    await one.look()
    for image_id in (of_template, of_pool, of_cluster):
        assert not tags(world, image_id)
    await remove_former_images(world.images, "dayfly/k8s", current=last)
    assert {of_cluster, of_template, of_pool}.isdisjoint(world.images.stored)


async def test_each_installation_has_a_tag_of_its_own(world: World) -> None:
    image_id = digest_only(world, "a", days=3)
    await world.create(make_spec(image_id=image_id))
    await keeper(world, "one").look()
    two = keeper(world, "two")
    await two.look()
    assert tags(world, image_id) == {f"dayfly/in-use:{name}-{image_id[7:19]}" for name in ("one", "two")}
    found = await ImageCatalog(world.images, world.store).present()
    assert is_in_use_reference(f"dayfly/in-use:one-{image_id[7:19]}", "one")
    for other in (f"dayfly/in-use:one-more-{image_id[7:19]}", "dayfly/k8s:latest"):
        assert not is_in_use_reference(other, "one")
    assert [one.names for one in found] == [frozenset({"k8s"})], "the tag is no name that callers use"


async def test_a_creation_is_seen_at_once_and_the_engine_asked_only_for_a_change(world: World) -> None:
    image_id = digest_only(world, "a", days=3)
    one = keeper(world)
    running = asyncio.create_task(one.run())
    try:
        async with asyncio.timeout(20):
            while not world.images.calls["list"]:  # noqa: ASYNC110 - the fake has no event for a call
                await asyncio.sleep(0.01)
            await world.create(make_spec(image_id=image_id))
            while not tags(world, image_id):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
    await one.look()
    asked = world.images.calls["list"]
    await one.look()
    assert world.images.calls["list"] == asked


async def test_an_engine_that_refuses_one_image_keeps_the_others_and_an_outage_is_told(world: World) -> None:
    first, second = (digest_only(world, digit, days=3) for digit in "ab")
    for image_id in (first, second):
        await world.create(make_spec(image_id=image_id))
    one = keeper(world)
    world.images.fail_next("tag", EngineRefused("no"))
    await one.look()
    assert sorted(map(len, (tags(world, first), tags(world, second)))) == [0, 1]
    world.images.fail_next("list", EngineUnavailable("away"))
    with pytest.raises(EngineUnavailable):
        await keeper(world).look()
