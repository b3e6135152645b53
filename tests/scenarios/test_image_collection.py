"""Retired images leave the engine when nothing uses them; images in use, foreign and promoted ones stay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from dayfly import metrics
from dayfly.controllers.image_catalog import ImageCatalog
from dayfly.controllers.spec_refresh import SpecRefresher
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.image_catalog import EngineImage
from dayfly.errors import EngineRefused, EngineUnavailable, ImageRetired
from dayfly.store import NewPool, Store
from dayfly.store.db.tables import images as table
from dayfly.testing.fake_images import FakeImages
from dayfly.vocabulary import ImageState
from tests.support.node_images import baked
from tests.support.specs import make_spec
from tests.support.template_controllers import Company
from tests.support.world import World


class UsedImages(FakeImages):
    """An engine that refuses to remove the last tag of the image `used`, of which a container was made."""

    used: str = ""

    async def remove(self, reference: str) -> None:
        image = self.stored.get(self.used)
        if image is not None and (reference == image.id or image.references == (reference,)):
            raise EngineRefused(f"removing {reference}: a container uses the image")
        await super().remove(reference)


@pytest.fixture
def world(store: Store) -> World:
    return World(store, images=UsedImages())


async def retire(world: World, image_id: str, *, long_ago: bool = True) -> None:
    """Through the catalog; `long_ago`: its time on the engine is over."""
    image = await find(world, image_id)
    await world.store.images.retire("k8s", image)
    if long_ago:
        async with world.store._database.write() as transaction:
            before = transaction.now.replace(year=transaction.now.year - 1)
            await transaction.execute(update(table).where(table.c.id == image_id).values(retired_at=before))


async def find(world: World, image_id: str) -> EngineImage:
    return await ImageCatalog(world.images, world.store).find("k8s", image_id)


async def states(world: World) -> dict[str, ImageState]:
    return {record.id: record.state for record in await world.store.images.records()}


async def test_only_what_is_retired_for_long_goes(world: World) -> None:
    long_ago, just_now, promoted, other = (baked(world.images, "k8s", digit * 12) for digit in "abcd")
    await world.store.images.promote("k8s", await find(world, promoted))
    await retire(world, long_ago)
    await retire(world, just_now, long_ago=False)
    foreign = world.images.add("lab:5000/team/thing:1").id
    before = metrics.REGISTRY.get_sample_value("dayfly_images_collected_total")
    assert before is not None
    await world.collector().look()
    assert set(world.images.stored) == {just_now, promoted, other, foreign}
    assert await states(world) == {
        long_ago: ImageState.COLLECTED,
        just_now: ImageState.RETIRED,
        promoted: ImageState.PRESENT,
    }
    assert metrics.REGISTRY.get_sample_value("dayfly_images_collected_total") == before + 1
    await world.collector().look()
    assert metrics.REGISTRY.get_sample_value("dayfly_images_collected_total") == before + 1


async def test_images_of_clusters_templates_and_pools_stay_until_these_are_gone(world: World) -> None:
    of_cluster, of_template, of_pool = (baked(world.images, "k8s", digit * 12) for digit in "abc")
    cluster = await world.create(make_spec(image_id=of_cluster))
    async with world.working():
        await world.until(cluster, Phase.READY)
    company = Company(world.store)
    template = await company.make_template(make_spec(image_id=of_template))
    spec = make_spec(image_id=of_pool).model_copy(update={"image": f"dayfly/k8s@{of_pool}"})
    pool = await world.store.pools.create(NewPool("pool", "default", spec, 0, 0))
    every = {of_cluster, of_template, of_pool}
    for image_id in every:
        await retire(world, image_id)
    await world.collector().look()
    assert set(world.images.stored) == every
    async with world.working():
        await world.store.lifecycle.delete(cluster.id)
        await world.until(cluster, Phase.DELETED)
    await world.store.pools.delete(pool.id)
    await world.store.templates.retire(template.id)
    await company.work()
    await world.store.templates.close()
    await world.collector().look()
    assert not world.images.stored
    assert set((await states(world)).values()) == {ImageState.COLLECTED}


@pytest.mark.parametrize("reference", ["lab:5000/dayfly/k8s:1", "dayfly/k8s:mine", "k8s:latest"])
async def test_an_image_with_a_name_that_this_installation_did_not_give_stays(world: World, reference: str) -> None:
    image_id = baked(world.images, "k8s", "a" * 12)
    await retire(world, image_id)
    image = world.images.stored[image_id]
    world.images.stored[image_id] = replace(image, references=(*image.references, reference))
    await world.collector().look()
    assert world.images.stored[image_id].references == (*image.references, reference)
    assert await states(world) == {image_id: ImageState.RETIRED}


async def test_an_image_of_another_installations_container_keeps_all_of_its_tags(world: World) -> None:
    image_id = baked(world.images, "k8s", "a" * 12)
    before = set(world.images.stored[image_id].references)
    await retire(world, image_id)
    assert isinstance(world.images, UsedImages)
    world.images.used = image_id
    await world.collector().look()
    assert set(world.images.stored[image_id].references) == before
    assert await states(world) == {image_id: ImageState.RETIRED}
    await world.store.images.promote("k8s", await find(world, image_id))
    await world.store.images.promote("k8s", await find(world, baked(world.images, "k8s", "b" * 12)))
    await retire(world, image_id)
    world.images.used = ""
    await world.collector().look()
    assert image_id not in world.images.stored


@pytest.mark.parametrize("used", [False, True])
async def test_a_tag_that_a_bake_moves_during_a_removal_stays(
    world: World, monkeypatch: pytest.MonkeyPatch, used: bool
) -> None:
    image_id = baked(world.images, "k8s", "a" * 12)
    await retire(world, image_id)
    assert isinstance(world.images, UsedImages)
    world.images.used = image_id if used else ""
    moved: list[str] = []
    remove = world.images.remove

    async def bake_then_remove(reference: str) -> None:
        if not moved:
            moved.append(baked(world.images, "k8s", "b" * 12))
        await remove(reference)

    image = world.images.stored[image_id]
    # In an order in which the tag `latest` is not the first to go.
    world.images.stored[image_id] = replace(image, references=tuple(sorted(image.references)))
    monkeypatch.setattr(world.images, "remove", bake_then_remove)
    await world.collector().look()
    assert set(world.images.stored[moved[0]].references) == {f"dayfly/k8s:{'b' * 12}", "dayfly/k8s:latest"}
    kept = {image_id: {f"dayfly/k8s:{'a' * 12}"}} if used else {}
    assert {one.id: set(one.references) for one in world.images.stored.values() if one.id == image_id} == kept


async def test_an_engine_that_dies_during_a_removal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    image_id = baked(world.images, "k8s", "a" * 12)
    await retire(world, image_id)

    async def away(_: str) -> None:
        raise EngineUnavailable("away")

    with monkeypatch.context() as broken:
        broken.setattr(world.images, "remove", away)
        with pytest.raises(EngineUnavailable):
            await world.collector().look()
    with pytest.raises(ImageRetired):
        await ImageCatalog(world.images, world.store).resolve(image_id)
    await world.collector().look()
    assert await states(world) == {image_id: ImageState.COLLECTED}


async def test_an_image_that_somebody_removed_by_hand(world: World) -> None:
    image_id = baked(world.images, "k8s", "a" * 12)
    await retire(world, image_id)
    await world.images.remove(image_id)
    await world.collector().look()
    assert await states(world) == {image_id: ImageState.COLLECTED}
    assert baked(world.images, "k8s", "a" * 12) == image_id
    assert (await ImageCatalog(world.images, world.store).resolve("dayfly/k8s:latest"))[0] == image_id


async def test_templates_and_pools_follow_a_name_but_not_a_digest(world: World) -> None:
    """The specification that their controllers go by (spec_refresh.py)."""

    async def key_of(spec: ClusterSpec, owner: str) -> str:
        return f"{owner} {spec.image_id}"

    first = baked(world.images, "k8s", "a" * 12)
    second = baked(world.images, "k8s", "b" * 12)
    specs = SpecRefresher(ImageCatalog(world.images, world.store).resolve, key_of)
    by_name = make_spec(image_id=first).model_copy(update={"image": "dayfly/k8s:latest"})
    by_digest = make_spec(image_id=first).model_copy(update={"image": f"dayfly/k8s@{first}"})
    assert (await specs.now(by_name, "me"))[0].image_id == second, "the last bake"
    for promoted in (first, second):
        await world.store.images.promote("k8s", await find(world, promoted))
        assert (await specs.now(by_name, "me"))[1] == f"me {promoted}"
        assert (await specs.now(by_digest, "me"))[0].image_id == first
    await retire(world, first)
    with pytest.raises(ImageRetired):
        await specs.now(by_digest, "me")
