"""Promotions, rollbacks and retirements of node images, their removal, and which clusters use which image."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from sqlalchemy import select, update

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Fault
from dayfly.domain.image_catalog import ImageOutcomes, promoted_line
from dayfly.errors import Conflict, IdempotencyKeyReused
from dayfly.store import CarriedOut, IdempotencyKey, NewPool, Store
from dayfly.store.db.tables import image_changes, images
from dayfly.vocabulary import ImageEvent, ImageState
from tests.store.helpers import claim_new, create, make_template, move, provision, several_stores, spec_with
from tests.support.node_images import on_engine

A, B, C = on_engine(10), on_engine(11), on_engine(12)
EVERY = {A.id, B.id, C.id}
DAY = 86400.0


async def promoted(store: Store, name: str = "k8s") -> str | None:
    line = promoted_line(await store.images.changes(name))
    return line[0].image_id if line else None


async def events(store: Store, name: str | None = None) -> list[tuple[ImageEvent, str]]:
    return [(change.event, change.image_id) for change in await store.images.changes(name)]


async def retired(store: Store, image_id: str) -> None:
    """As if it had been retired long ago."""
    async with store._database.write() as transaction:
        before = transaction.now.replace(year=transaction.now.year - 1)
        await transaction.execute(update(images).where(images.c.id == image_id).values(retired_at=before))


async def test_a_name_moves_and_moves_back(store: Store) -> None:
    assert await promoted(store) is None
    for image in (A, B, C):
        assert await store.images.promote("k8s", image)
    assert not await store.images.promote("k8s", C), "it is promoted"
    assert await promoted(store) == C.id
    await store.images.rollback("k8s", EVERY)
    assert await promoted(store) == B.id
    await store.images.rollback("k8s", EVERY)
    assert await promoted(store) == A.id
    with pytest.raises(Conflict, match="nothing was promoted before"):
        await store.images.rollback("k8s", EVERY)
    assert await store.images.promote("k8s", C)
    await store.images.rollback("k8s", EVERY)
    assert await promoted(store) == A.id, "B was rolled back"
    assert await events(store) == [
        (ImageEvent.PROMOTED, A.id),
        (ImageEvent.PROMOTED, B.id),
        (ImageEvent.PROMOTED, C.id),
        (ImageEvent.ROLLED_BACK, B.id),
        (ImageEvent.ROLLED_BACK, A.id),
        (ImageEvent.PROMOTED, C.id),
        (ImageEvent.ROLLED_BACK, A.id),
    ]
    assert await store.images.changes("other") == ()
    with pytest.raises(Conflict, match="nothing was ever promoted"):
        await store.images.rollback("other", EVERY)


async def test_a_rollback_passes_over_what_is_retired_or_not_on_the_engine(store: Store) -> None:
    for image in (A, B, C):
        await store.images.promote("k8s", image)
    with pytest.raises(Conflict, match="retired or gone"):
        await store.images.rollback("k8s", {C.id})
    await store.images.retire("k8s", B)
    await store.images.rollback("k8s", EVERY)
    assert await promoted(store) == A.id


async def test_a_name_that_stands_for_an_image_keeps_it_from_retirement(store: Store) -> None:
    await store.images.promote("k8s", A)
    await store.images.promote("stable", A)
    with pytest.raises(Conflict, match="k8s, stable stands for"):
        await store.images.retire("k8s", A)
    with pytest.raises(Conflict, match="bare stands for"):
        await store.images.retire("bare", B, {"bare"})
    assert not await store.images.is_retired(A.id)
    await store.images.promote("k8s", B)
    await store.images.promote("stable", B)
    await store.images.retire("k8s", A, {"k8s"})  # of a name with promotions, the tag means nothing
    assert await store.images.is_retired(A.id)
    await store.images.retire("k8s", A)
    assert (await events(store, "k8s")).count((ImageEvent.RETIRED, A.id)) == 1
    await store.images.promote("k8s", A)
    assert not await store.images.is_retired(A.id), "a promotion takes it into use again"
    [record] = [one for one in await store.images.records() if one.id == A.id]
    assert (record.name, record.manifest, record.size_bytes, record.created_at) == (
        "k8s",
        A.manifest,
        A.size_bytes,
        A.created_at,
    )


async def test_a_repeated_request_with_a_key_changes_nothing(store: Store) -> None:
    for image in (A, B, C):
        await store.images.promote("k8s", image)
    key = IdempotencyKey("again", "fingerprint")
    await store.images.rollback("k8s", EVERY, key)
    with pytest.raises(CarriedOut):
        await store.images.rollback("k8s", EVERY, key)
    with pytest.raises(CarriedOut):
        await store.idempotency_keys.require_new(key)
    with pytest.raises(IdempotencyKeyReused):
        await store.images.promote("k8s", C, IdempotencyKey("again", "another"))
    assert await promoted(store) == B.id
    other = IdempotencyKey("other", "fingerprint")
    await store.images.promote("k8s", A, other)
    await store.images.promote("k8s", C)
    with pytest.raises(CarriedOut):
        await store.images.promote("k8s", A, other)
    assert await promoted(store) == C.id


async def test_changes_of_several_processes_are_one_after_the_other(url: str) -> None:
    async with several_stores(url, 4) as stores:
        await stores[0].images.promote("k8s", A)
        await asyncio.gather(
            *(store.images.promote("k8s", image) for store in stores for image in (B, C)),
            *(store.images.rollback("k8s", EVERY) for store in stores[:1]),
            return_exceptions=True,
        )
        history = await stores[0].images.changes("k8s")
        # Each promotion knows the one before it.
        for before, change in itertools.pairwise(history):
            if change.event is ImageEvent.PROMOTED:
                assert change.former == before.id
                assert change.image_id != before.image_id
        results = await asyncio.gather(
            stores[0].images.retire("k8s", B), stores[1].images.promote("k8s", B), return_exceptions=True
        )
        assert await promoted(stores[2]) == B.id
        assert not await stores[2].images.is_retired(B.id), results


async def test_only_an_image_that_nothing_uses_is_removed(store: Store) -> None:
    for image in (A, B):
        await store.images.promote("k8s", image)
    assert await store.images.due_for_removal(DAY) == ()
    await store.images.retire("k8s", A)
    assert await store.images.due_for_removal(DAY) == ()
    await retired(store, A.id)
    assert [one.id for one in await store.images.due_for_removal(DAY)] == [A.id]
    assert not await store.images.begin_removal(B.id), "it is promoted"
    assert not await store.images.removed(A.id), "its removal has not begun"
    assert await store.images.begin_removal(A.id)
    with pytest.raises(Conflict, match="is being removed"):
        await store.images.promote("k8s", A)
    await store.images.keep(A.id)
    assert await store.images.begin_removal(A.id)
    assert await store.images.removed(A.id)
    assert not await store.images.removed(A.id)
    assert await store.images.due_for_removal(DAY) == ()
    assert not await store.images.is_retired(A.id), "if it is pulled again, clusters may use it"
    [record] = [one for one in await store.images.records() if one.id == A.id]
    assert record.state is ImageState.COLLECTED
    assert (await events(store))[-1] == (ImageEvent.COLLECTED, A.id)
    await store.images.promote("k8s", A)
    assert {one.state for one in await store.images.records()} == {ImageState.PRESENT}


@pytest.mark.parametrize("user", ["cluster", "hibernated", "failed", "template", "pool"])
async def test_an_image_in_use_stays(store: Store, user: str) -> None:
    await store.images.promote("k8s", B)
    await store.images.retire("k8s", A)
    spec = spec_with(image=f"dayfly/k8s@{A.id}", image_id=A.id)
    match user:
        case "template":
            await make_template(store, image=spec.image, image_id=A.id)
        case "pool":
            await store.pools.create(NewPool("kept", "default", spec, 1, 1))
        case _:
            claim = await claim_new(store, image_id=A.id)
            await provision(store, claim)
            if user == "failed":
                await store.status.set_phase(claim, Phase.FAILED, fault=Fault("vm_exited", "x"))
            else:
                await move(store, claim, Phase.READY)
    assert not await store.images.begin_removal(A.id)


async def test_a_pool_that_follows_its_name_does_not_use_its_first_image(store: Store) -> None:
    await store.images.promote("k8s", B)
    await store.images.retire("k8s", A)
    spec = spec_with(image="dayfly/k8s:latest", image_id=A.id)
    await store.pools.create(NewPool("follows", "default", spec, 1, 1))
    assert await store.images.begin_removal(A.id)


async def test_use_and_outcomes(store: Store) -> None:
    ready = await claim_new(store, image_id=A.id)
    await provision(store, ready)
    await move(store, ready, Phase.READY)
    broken = await claim_new(store, image_id=A.id)
    await provision(store, broken)
    await store.status.set_phase(broken, Phase.FAILED, fault=Fault("vm_exited", "x"))
    await create(store, image_id=B.id)
    gone = await create(store, image_id=B.id)
    await store.lifecycle.delete(gone.id)
    await store.pools.create(NewPool("one", "default", spec_with(image="dayfly/k8s:latest", image_id=B.id), 1, 1))
    assert await store.image_uses.outcomes(DAY) == {A.id: ImageOutcomes(1, 1, 2), B.id: ImageOutcomes()}
    assert ImageOutcomes(1, 1, 2).failure_rate == 0.5
    assert ImageOutcomes().failure_rate is None
    assert (await store.image_uses.of_clusters())[A.id] == 2
    assert await store.image_uses.of_pools() == {("dayfly/k8s:latest", B.id): 1}
    assert await store.image_uses.of_templates() == {}


async def made_long_ago(store: Store, *, but: int = 0) -> None:
    """All changes are old, but the newest `but`."""
    async with store._database.write() as transaction:
        before = transaction.now.replace(year=transaction.now.year - 1)
        newest = select(image_changes.c.id).order_by(image_changes.c.id.desc()).limit(but)
        kept = set((await transaction.execute(newest)).scalars())
        await transaction.execute(update(image_changes).where(image_changes.c.id.not_in(kept)).values(at=before))


async def test_old_changes_that_no_rollback_needs_are_purged(store: Store) -> None:
    for _ in range(3):
        for image in (A, B, C):
            await store.images.promote("k8s", image)
    await store.images.rollback("k8s", EVERY)  # to B
    await store.images.promote("other", A)
    assert await store.images.purge_history(DAY) == 0, "they are young"
    await made_long_ago(store)
    assert await store.images.purge_history(DAY) == 7
    assert [image_id for _, image_id in await events(store, "k8s")] == [C.id, A.id, B.id]
    assert await events(store, "other") == [(ImageEvent.PROMOTED, A.id)]
    assert await store.images.purge_history(DAY) == 0
    assert await promoted(store) == B.id
    await store.images.rollback("k8s", EVERY)
    assert await promoted(store) == A.id
    await store.images.rollback("k8s", EVERY)
    assert await promoted(store) == C.id
    with pytest.raises(Conflict, match="nothing was promoted before"):
        await store.images.rollback("k8s", EVERY)


async def test_young_changes_and_records_of_retired_images_stay(store: Store) -> None:
    for image in (A, B, A, B):
        await store.images.promote("k8s", image)
    await made_long_ago(store, but=3)
    assert await store.images.purge_history(DAY) == 1
    assert [image_id for _, image_id in await events(store)] == [B.id, A.id, B.id]
    await store.images.retire("k8s", A)
    await made_long_ago(store)
    await store.images.purge_history(DAY)
    assert await store.images.is_retired(A.id)


async def test_a_collected_image_is_forgotten_in_the_end(store: Store) -> None:
    for image in (A, B):
        await store.images.promote("k8s", image)
    await store.images.retire("k8s", A)
    await retired(store, A.id)
    assert await store.images.begin_removal(A.id)
    assert await store.images.removed(A.id)
    await store.images.purge_history(DAY)
    assert set(await store.images.records_of(EVERY)) == {A.id, B.id}
    await made_long_ago(store)
    async with store._database.write() as transaction:
        before = transaction.now.replace(year=transaction.now.year - 1)
        await transaction.execute(update(images).where(images.c.id == A.id).values(collected_at=before))
    await store.images.purge_history(DAY)
    assert set(await store.images.records_of(EVERY)) == {B.id}
    assert await events(store) == [(ImageEvent.PROMOTED, B.id)]
    assert await promoted(store) == B.id
