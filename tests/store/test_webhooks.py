"""Webhooks and their deliveries: recorded with the events that cause them, claimed, finished and repeated."""

from __future__ import annotations

import asyncio
import json

import pytest

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Fault, NewEvent
from dayfly.domain.webhook import MOST_TESTS, MOST_WEBHOOKS, Webhook
from dayfly.errors import Conflict, Internal, InvalidRequest, NotFound, WebhookLimit
from dayfly.store import (
    CarriedOut,
    IdempotencyKey,
    NewPool,
    NewWebhook,
    Store,
    WebhookChange,
)
from dayfly.vocabulary import DeliveryState, WebhookEvent
from tests.store.helpers import claim_new, make_members, make_ready, make_template, move, several_stores, spec_with
from tests.support.webhooks import ALL, DONE, FAILED, SECRET, claim, create, sent, types


async def test_each_end_of_a_clusters_life_is_sent_to_the_webhooks_of_its_team(store: Store) -> None:
    mine, few, other = (
        await create(store),
        await create(store, events=(WebhookEvent.DELETED,)),
        await create(store, "x"),
    )
    claimed = await claim_new(store, "demo", labels={"a": "b"}, ttl_seconds=60)
    await move(store, claimed, Phase.PROVISIONING, Phase.READY)
    await store.status.warned(claimed, NewEvent("cluster.expiring", "soon"))
    await store.status.append_event(claimed, NewEvent("cluster.idle", "quiet"))
    await move(store, claimed, Phase.HIBERNATED, Phase.PENDING, Phase.PROVISIONING)
    await store.status.set_phase(claimed, Phase.FAILED, fault=Fault("vm_exited", "QEMU ended", "boot", "node01"))
    await move(store, claimed, Phase.DELETING, Phase.DELETED)
    assert await types(store, mine) == ["deleted", "expiring", "failed", "hibernated", "ready"]
    assert await types(store, few) == ["deleted"]
    assert await types(store, other) == []
    assert {one.cluster_id for one in await sent(store, mine)} == {claimed.cluster.id}
    bodies = {one.type: json.loads(one.body) for one in await claim(store) if one.webhook_id == mine.id}
    for one in bodies.values():
        assert (one["data"]["team"], one["data"]["cluster"]["name"]) == ("default", "demo")
        assert one["data"]["cluster"]["labels"] == {"a": "b"}
    assert bodies["ready"]["data"]["cluster"]["phase"] == "ready"
    assert bodies["expiring"]["data"]["cluster"]["expires_at"] is not None
    assert bodies["failed"]["data"]["cluster"]["error"]["code"] == "vm_exited"


async def test_messages_of_one_event_have_one_id(store: Store) -> None:
    first, second = await create(store), await create(store)
    await make_ready(store)
    [one], [two] = await sent(store, first), await sent(store, second)
    assert one.message_id == two.message_id
    assert one.id != two.id


async def test_clusters_of_templates_and_pools_are_not_told(store: Store) -> None:
    webhook = await create(store)
    await make_template(store)
    pool = await store.pools.create(NewPool("ci", "default", spec_with(), 1, 1))
    await make_members(store, pool, 1)
    assert await types(store, webhook) == []


async def test_a_transaction_that_is_rolled_back_sends_nothing(store: Store) -> None:
    webhook = await create(store)
    claimed = await claim_new(store)
    await move(store, claimed, Phase.PROVISIONING)
    with pytest.raises(Internal):
        await store.status.set_phase(claimed, Phase.PENDING)
    assert await types(store, webhook) == []


async def test_a_disabled_webhook_gets_nothing_new_and_keeps_what_waits(store: Store) -> None:
    webhook = await create(store)
    await make_ready(store)
    off = await store.webhooks.change(webhook.id, "default", WebhookChange(enabled=False))
    assert (off.enabled, off.disabled_reason) == (False, "by request")
    await make_ready(store)
    assert await claim(store) == ()
    assert await store.webhook_leases.seconds_until_due() is None
    on = await store.webhooks.change(webhook.id, "default", WebhookChange(enabled=True))
    assert (on.enabled, on.disabled_reason) == (True, None)
    assert [one.type for one in await claim(store)] == ["ready"]


async def test_a_new_delivery_wakes_deliverers(store: Store) -> None:
    await create(store)
    with store.watch_webhooks() as watch:
        claimed = await claim_new(store)
        await move(store, claimed, Phase.PROVISIONING)
        assert not await watch.wait(0.05)
        await move(store, claimed, Phase.READY)
        assert await watch.wait(5)


async def test_events_while_a_webhook_is_deleted(url: str) -> None:
    """Neither waits without end, and no cluster's transaction fails because of a webhook."""
    async with several_stores(url, 2) as (one, two):
        claimed = await claim_new(one)
        await move(one, claimed, Phase.PROVISIONING)
        for _ in range(10):
            webhook = await create(two)
            await asyncio.gather(
                move(one, claimed, Phase.READY, Phase.PROVISIONING), two.webhooks.delete(webhook.id, "default")
            )
            assert await one.webhooks.list("default") == ()


async def test_a_test_call_is_made_once_even_of_a_disabled_webhook(store: Store) -> None:
    webhook = await create(store)
    await store.webhooks.change(webhook.id, "default", WebhookChange(enabled=False))
    key = IdempotencyKey("key", "x")
    made = await store.webhooks.test(webhook.id, "default", key)
    with pytest.raises(CarriedOut) as known:
        await store.webhooks.test(webhook.id, "default", key)
    assert known.value.use.resource_id == made.id
    [held] = await claim(store)
    assert json.loads(held.body)["data"] == {"team": "default", "cluster": None, "quota": None}
    assert await store.webhook_leases.finish(held, FAILED) is DeliveryState.DEAD
    assert (await store.webhooks.get(webhook.id, "default")).failing_since is None
    with pytest.raises(NotFound):
        await store.webhooks.test(webhook.id, "other")


async def test_test_calls_that_wait_are_few(store: Store) -> None:
    webhook = await create(store)
    for _ in range(MOST_TESTS):
        await store.webhooks.test(webhook.id, "default")
    with pytest.raises(Conflict, match="100 test calls of webhook"):
        await store.webhooks.test(webhook.id, "default")
    await store.webhooks.test((await create(store)).id, "default")
    held, *_ = await claim(store)
    await store.webhook_leases.finish(held, DONE)
    await store.webhooks.test(held.webhook_id, "default")


async def test_a_team_sees_its_own_webhooks_only(store: Store) -> None:
    mine, theirs = await create(store), await create(store, "other", description="theirs \0")
    assert theirs.description == "theirs \ufffd"
    assert await store.webhooks.list("default") == (mine,)
    assert await store.webhooks.list("other") == (theirs,)
    for ask in (
        store.webhooks.get(theirs.id, "default"),
        store.webhooks.delete(theirs.id, "default"),
        store.webhooks.change(theirs.id, "default", WebhookChange(enabled=False)),
    ):
        with pytest.raises(NotFound, match=f"no webhook {theirs.id}"):
            await ask
    assert SECRET not in repr(await store.webhooks.get(mine.id, "default"))


async def test_a_change_and_its_check(store: Store) -> None:
    webhook = await create(store)
    change = WebhookChange(url="https://other.example/", events=(WebhookEvent.READY,), description="new")
    changed = await store.webhooks.change(webhook.id, "default", change)
    assert (changed.url, changed.events, changed.description) == (
        "https://other.example/",
        (WebhookEvent.READY,),
        "new",
    )
    assert changed.updated_at > webhook.updated_at

    def refuse(old: Webhook) -> None:
        raise InvalidRequest(old.description)

    with pytest.raises(InvalidRequest, match=r"^new$"):
        await store.webhooks.change(webhook.id, "default", WebhookChange(description="x"), refuse)
    assert await store.webhooks.get(webhook.id, "default") == changed


async def test_a_team_has_a_bounded_number_even_if_all_are_created_at_once(url: str) -> None:
    async with several_stores(url, 3) as stores:
        for _ in range(MOST_WEBHOOKS - 2):
            await create(stores[0])
        results = await asyncio.gather(*(create(store) for store in stores * 3), return_exceptions=True)
        assert sum(isinstance(one, WebhookLimit) for one in results) == 7
        assert len(await stores[0].webhooks.list("default")) == MOST_WEBHOOKS
        await create(stores[0], "other")


async def test_pages_of_deliveries(store: Store) -> None:
    webhook = await create(store)
    made = [(await store.webhooks.test(webhook.id, "default")).id for _ in range(5)]
    found: list[str] = []
    cursor = None
    while True:
        page = await store.webhooks.deliveries(webhook.id, limit=2, cursor=cursor)
        found += [one.id for one in page.deliveries]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert sorted(found) == sorted(made)
    with pytest.raises(InvalidRequest):
        await store.webhooks.deliveries(webhook.id, cursor="x")
    assert (await store.webhooks.delivery(webhook.id, made[0])).id == made[0]
    with pytest.raises(NotFound):
        await store.webhooks.delivery((await create(store)).id, made[0])


async def test_records_of_deliveries_and_their_keys_go_after_a_time(store: Store) -> None:
    webhook = await store.webhooks.create(
        NewWebhook("default", "https://ci.example/", ALL, SECRET), IdempotencyKey("made", "x")
    )
    await store.webhooks.test(webhook.id, "default", IdempotencyKey("test", "x"))
    pending = await store.webhooks.test(webhook.id, "default", IdempotencyKey("pending", "x"))
    first, _ = await claim(store)
    await store.webhook_leases.finish(first, DONE)
    await store.maintenance.purge_deleted(60, limit=10)
    assert len(await sent(store, webhook)) == 2
    await store.maintenance.purge_deleted(-60, limit=10)
    left = await sent(store, webhook)
    assert len(left) == 1
    for name, known in (("made", True), ("pending", left[0].id == pending.id), ("test", left[0].id != pending.id)):
        if known:
            with pytest.raises(CarriedOut):
                await store.idempotency_keys.require_new(IdempotencyKey(name, "x"))
        else:
            await store.idempotency_keys.require_new(IdempotencyKey(name, "x"))
