"""Requests for clusters: recorded, found, listed, withdrawn."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.errors import BadName, IdempotencyKeyReused, InvalidRequest, NameTaken, NotFound
from dayfly.store import IdempotencyKey, NewCluster, Store
from dayfly.store.db import tables
from dayfly.store.db.ids import new_name
from dayfly.vocabulary import CLUSTER_NAME
from tests.store.helpers import admit_all, claim_new, claim_one, create, move
from tests.support.specs import make_spec


async def test_a_new_cluster_is_found_by_id_and_by_name(store: Store) -> None:
    made = await create(store, "demo", ttl_seconds=600, labels={"team": "a"})
    assert made == await store.clusters.get(made.id) == await store.clusters.get("demo")
    assert (made.phase, made.desired, made.generation) == (Phase.PENDING, Desired.PRESENT, 1)
    assert made.spec == make_spec().model_copy(update={"labels": {"team": "a"}, "ttl_seconds": 600})
    assert made.expires_at is None, "it counts from when the cluster is ready"
    assert made.created_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - made.created_at) < timedelta(minutes=1)


async def test_an_id_is_never_a_name_and_a_made_up_name_always_one(store: Store) -> None:
    made = [await create(store) for _ in range(10)]
    assert all(re.fullmatch(r"[0-9][0-9a-f]{11}", cluster.id) for cluster in made)
    assert not any(CLUSTER_NAME.fullmatch(cluster.id) for cluster in made)
    assert len({cluster.name for cluster in made}) == 10
    assert all(CLUSTER_NAME.fullmatch(new_name()) for _ in range(500))
    with pytest.raises(BadName):
        await create(store, "0demo")


@pytest.mark.parametrize("missing", ["demo", "0123456789ab"])
async def test_what_is_not_there_is_not_found(store: Store, missing: str) -> None:
    with pytest.raises(NotFound):
        await store.clusters.get(missing)
    with pytest.raises(NotFound):
        await store.lifecycle.delete(missing)


async def test_a_name_is_taken_until_its_cluster_is_deleted(store: Store) -> None:
    first = await create(store, "demo")
    with pytest.raises(NameTaken):
        await create(store, "demo")
    await store.lifecycle.delete("demo")
    claim = await claim_one(store)
    await move(store, claim, Phase.DELETING)
    with pytest.raises(NameTaken):
        await create(store, "demo")
    await move(store, claim, Phase.DELETED)
    with pytest.raises(NotFound):
        await store.clusters.get("demo")
    second = await create(store, "demo")
    assert (await store.clusters.get("demo")).id == second.id
    assert (await store.clusters.get(first.id)).phase is Phase.DELETED


async def test_of_creations_of_one_name_at_once_one_wins(store: Store) -> None:
    results = await asyncio.gather(*(create(store, "demo") for _ in range(8)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, BaseException)]
    assert len(refused) == 7
    assert all(isinstance(error, NameTaken) for error in refused)


async def test_an_idempotency_key_makes_one_cluster(store: Store) -> None:
    new, key = NewCluster(None, make_spec()), IdempotencyKey("key", "fingerprint")
    results = await asyncio.gather(*(store.clusters.create(new, key) for _ in range(8)))
    assert len({cluster.id for cluster, _ in results}) == 1
    assert sorted(created for _, created in results) == [False] * 7 + [True]
    assert len((await store.clusters.list()).clusters) == 1
    with pytest.raises(IdempotencyKeyReused):
        await store.clusters.create(new, IdempotencyKey("key", "another"))
    other, created = await store.clusters.create(new, IdempotencyKey("key-2", "fingerprint"))
    assert created
    assert other.id != results[0][0].id


async def test_an_idempotency_key_belongs_to_its_owner(store: Store) -> None:
    def asked(owner: str) -> tuple[NewCluster, IdempotencyKey]:
        return NewCluster(None, make_spec(), owner=owner), IdempotencyKey("k" * 200, f"f{owner}", owner)

    made = {owner: (await store.clusters.create(*asked(owner)))[0].id for owner in ("default", "one", "o" * 63)}
    assert len(set(made.values())) == 3
    for owner, id_ in made.items():
        again, created = await store.clusters.create(*asked(owner))
        assert (again.id, created) == (id_, False)
        found = await store.clusters.find_by_idempotency_key(asked(owner)[1])
        assert found is not None
        assert found.id == id_
    assert await store.clusters.find_by_idempotency_key(asked("nobody")[1]) is None


async def test_a_key_of_an_older_release_belongs_to_the_owner_of_its_cluster(store: Store) -> None:
    made, _ = await store.clusters.create(NewCluster(None, make_spec(), owner="one"))
    async with store._database.write() as transaction:
        row = {"key": "key", "fingerprint": "f", "cluster_id": made.id, "created_at": transaction.now}
        await transaction.connection.execute(insert(tables.idempotency_keys).values(row))
    found = await store.clusters.find_by_idempotency_key(IdempotencyKey("key", "f", "one"))
    assert found is not None
    assert found.id == made.id
    assert await store.clusters.find_by_idempotency_key(IdempotencyKey("key", "f", "two")) is None
    for owner in ("two", "default"):
        other, created = await store.clusters.create(
            NewCluster(None, make_spec(), owner=owner), IdempotencyKey("key", "another", owner)
        )
        assert (other.owner, created) == (owner, True)


async def test_a_refused_creation_leaves_nothing(store: Store) -> None:
    await create(store, "demo")
    key = IdempotencyKey("key", "fingerprint")
    with pytest.raises(NameTaken):
        await store.clusters.create(NewCluster("demo", make_spec()), key)
    other, created = await store.clusters.create(NewCluster("other", make_spec()), key)
    assert (other.name, created) == ("other", True)


async def test_pages_hold_every_cluster_once_newest_first(store: Store) -> None:
    made = [(await create(store)).id for _ in range(7)]
    expected = [
        cluster.id
        for cluster in sorted(
            [await store.clusters.get(id_) for id_ in made], key=lambda c: (c.created_at, c.id), reverse=True
        )
    ]
    seen: list[str] = []
    cursor: str | None = None
    for size in (3, 3, 1):
        page = await store.clusters.list(limit=3, cursor=cursor)
        assert len(page.clusters) == size
        seen += [cluster.id for cluster in page.clusters]
        cursor = page.next_cursor
    assert cursor is None
    assert seen == expected
    assert (await store.clusters.list(limit=7)).next_cursor is None


def cursor_of(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        *("", "x", "!!!!", "e30=", "WzEsIDJd", "\u00e9"),
        cursor_of("2026-01-01T00:00:00", "a"),
        cursor_of("0001-01-01T00:00:00+14:00", "a"),
        cursor_of("2026-01-01T00:00:00+00:00", "a\0"),
        cursor_of("2026-01-01T00:00:00+00:00", "\ud800"),
    ],
)
async def test_a_made_up_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidRequest):
        await store.clusters.list(cursor=cursor)


async def test_listing_by_labels_and_phases(store: Store) -> None:
    await create(store, "a", labels={"team": "x", "job": "1"})
    await create(store, "b", labels={"team": "x", "job": "2"})
    await create(store, "c", labels={"team": "y", "job": "1"})
    gone = await create(store, "d", labels={"team": "x"})
    await admit_all(store)
    for claim in await store.leases.claim("worker", lease_seconds=60, limit=10):
        if claim.cluster.id == gone.id:
            await move(store, claim, Phase.DELETING, Phase.DELETED)
        elif claim.cluster.name == "b":
            await move(store, claim, Phase.PROVISIONING)

    async def listed(**filters: object) -> list[str]:
        return sorted(c.name for c in (await store.clusters.list(**filters)).clusters)  # type: ignore[arg-type]

    assert await listed() == ["a", "b", "c"]
    assert await listed(labels={"team": "x"}) == ["a", "b"]
    assert await listed(labels={"team": "x", "job": "1"}) == ["a"]
    assert await listed(labels={"team": "1"}) == []
    assert await listed(phases={Phase.PROVISIONING}) == ["b"]
    assert await listed(phases={Phase.DELETED, Phase.PENDING}, labels={"team": "x"}) == ["a", "d"]


async def test_any_number_of_labels_is_one_condition(store: Store) -> None:
    # One condition for each label exceeds SQLite's depth of expressions at 1,000 labels.
    labels = {f"label-{number}": "x" for number in range(1200)}
    await create(store, "all", labels=labels)
    await create(store, "few", labels=dict(list(labels.items())[:-1]))
    await create(store, "other", labels={**labels, "label-0": "y"})
    assert [cluster.name for cluster in (await store.clusters.list(labels=labels)).clusters] == ["all"]


async def test_a_deletion_may_be_requested_again(store: Store) -> None:
    made = await create(store, "demo")
    first = await store.lifecycle.delete("demo")
    assert first.desired is Desired.ABSENT
    assert first.phase is Phase.PENDING
    assert await store.lifecycle.delete(made.id) == first
    await move(store, await claim_one(store), Phase.DELETING, Phase.DELETED)
    assert (await store.lifecycle.delete(made.id)).phase is Phase.DELETED
    with pytest.raises(NotFound):
        await store.lifecycle.delete("demo")


async def test_a_request_makes_a_settled_cluster_due(store: Store) -> None:
    claim = await claim_new(store)
    await move(store, claim, Phase.PROVISIONING, Phase.READY)
    await store.leases.release(claim, due_in_seconds=None)
    assert await store.leases.claim("worker", lease_seconds=60, limit=1) == ()
    await store.lifecycle.delete(claim.cluster.id)
    assert (await claim_one(store)).cluster.desired is Desired.ABSENT


async def test_listing_by_owner(store: Store) -> None:
    mine = [await create(store, owner="me") for _ in range(3)]
    await create(store, owner="you")
    await admit_all(store)
    page = await store.clusters.list(owner="me", limit=2)
    rest = await store.clusters.list(owner="me", limit=2, cursor=page.next_cursor)
    assert {c.id for c in (*page.clusters, *rest.clusters)} == {cluster.id for cluster in mine}
    assert (await store.clusters.list(owner="nobody")).clusters == ()
