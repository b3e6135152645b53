"""Deliveries to webhooks as deliverers claim and finish them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from dayfly.domain.webhook import DISABLED_AFTER, KEPT_ATTEMPTS, RETRIES, NewAttempt
from dayfly.errors import LeaseLost, NotFound, WebhookDisabled
from dayfly.store import (
    CarriedOut,
    IdempotencyKey,
    Store,
    WebhookChange,
)
from dayfly.store.db.webhook_tables import webhook_attempts, webhook_deliveries, webhooks
from dayfly.store.webhook_leases import MOST_CALLS
from dayfly.vocabulary import DeliveryState
from tests.store.helpers import make_ready, several_stores
from tests.support.webhooks import DONE, FAILED, SECRET, claim, create, sent, set_times


async def test_two_deliverers_never_claim_the_same(url: str) -> None:
    async with several_stores(url, 3) as stores:
        for _ in range(5):
            await create(stores[0])
        for _ in range(3):
            await make_ready(stores[0])
        found = await asyncio.gather(*(claim(store, 4, f"{number}") for number, store in enumerate(stores)))
        ids = [one.delivery_id for claims in found for one in claims]
        assert len(ids) == len(set(ids)) == 12
        assert len(await claim(stores[0])) == 3


async def test_calls_to_one_webhook_at_once_are_few_and_others_do_not_wait(store: Store) -> None:
    full = await create(store)
    for _ in range(MOST_CALLS + 2):
        await make_ready(store)
    late = await create(store)
    await make_ready(store)
    first = await claim(store, 2)
    assert [one.webhook_id for one in first] == [full.id, late.id], "the first of each webhook comes first"
    rest = await claim(store)
    assert len(rest) == MOST_CALLS - 1
    assert await claim(store) == ()
    await store.webhook_leases.finish(first[0], DONE)
    [another] = await claim(store)
    # One failure, and one call at a time is made.
    await store.webhook_leases.finish(another, FAILED)
    await store.webhook_leases.finish(rest[0], DONE)
    await store.webhook_leases.finish(rest[1], FAILED)
    await set_times(store, due_at=-1)
    assert await claim(store) == ()
    await store.webhook_leases.finish(rest[2], FAILED)
    await set_times(store, due_at=-1)
    assert len(await claim(store)) == 1


async def test_a_success_ends_a_delivery(store: Store) -> None:
    webhook = await create(store)
    await make_ready(store)
    [held] = await claim(store)
    assert (held.url, held.secret(), held.type) == (webhook.url, SECRET, "ready")
    assert SECRET not in repr(held)
    assert await store.webhook_leases.finish(held, DONE) is DeliveryState.DELIVERED
    [one] = await sent(store, webhook)
    assert (one.state, one.due_at, one.id, one.message_id) == (
        DeliveryState.DELIVERED,
        None,
        held.delivery_id,
        held.message_id,
    )
    assert [(made.seconds, made.status, made.error_code, made.at) for made in one.attempts] == [
        (0.5, 204, None, one.ended_at)
    ]
    assert (await store.webhooks.get(webhook.id, "default")).succeeded_at == one.ended_at
    with pytest.raises(LeaseLost):
        await store.webhook_leases.finish(held, DONE)
    assert await claim(store) == ()


async def test_a_failure_is_repeated_and_after_a_day_the_letter_is_dead(store: Store) -> None:
    webhook = await create(store)
    await make_ready(store)
    [held] = await claim(store)
    assert await store.webhook_leases.finish(held, FAILED) is DeliveryState.PENDING
    [one] = await sent(store, webhook)
    assert one.attempts[0].answer == "oops"
    assert one.due_at is not None
    assert timedelta(seconds=4) <= one.due_at - one.attempts[0].at <= timedelta(seconds=6)
    assert await claim(store) == ()
    assert 3 < (await store.webhook_leases.seconds_until_due() or 0) <= 6
    await set_times(store, due_at=-1, begun_at=-RETRIES.total_seconds() - 1)
    assert await store.webhook_leases.seconds_until_due() == 0
    [again] = await claim(store)
    assert again.message_id == held.message_id
    assert await store.webhook_leases.finish(again, FAILED) is DeliveryState.DEAD
    [dead] = await sent(store, webhook)
    assert (dead.state, dead.due_at, len(dead.attempts)) == (DeliveryState.DEAD, None, 2)
    assert (await store.webhooks.deliveries(webhook.id, states=[DeliveryState.DEAD])).deliveries == (dead,)
    assert (await store.webhooks.deliveries(webhook.id, states=[DeliveryState.PENDING])).deliveries == ()


async def test_a_dead_letter_is_sent_again_on_request(store: Store) -> None:
    webhook = await create(store)
    await make_ready(store)
    [held] = await claim(store)
    await set_times(store, begun_at=-RETRIES.total_seconds() - 1)
    await store.webhook_leases.finish(held, FAILED)
    key = IdempotencyKey("key", "x")
    again = await store.webhooks.redeliver(webhook.id, held.delivery_id, "default", key)
    assert (again.state, len(again.attempts), again.message_id) == (DeliveryState.PENDING, 1, held.message_id)
    with pytest.raises(CarriedOut) as known:
        await store.webhooks.redeliver(webhook.id, held.delivery_id, "default", key)
    assert known.value.use.resource_id == held.delivery_id
    [second] = await claim(store)
    assert await store.webhook_leases.finish(second, FAILED) is DeliveryState.PENDING, "another day begins"
    await store.webhooks.change(webhook.id, "default", WebhookChange(enabled=False))
    with pytest.raises(WebhookDisabled, match="by request"):
        await store.webhooks.redeliver(webhook.id, held.delivery_id, "default")
    with pytest.raises(NotFound):
        await store.webhooks.redeliver(webhook.id, "0", "default")
    with pytest.raises(NotFound):
        await store.webhooks.redeliver(webhook.id, held.delivery_id, "other")


async def test_a_webhook_that_fails_for_days_is_disabled_with_the_reason(store: Store) -> None:
    webhook = await create(store)
    await make_ready(store)
    [held] = await claim(store)
    await store.webhook_leases.finish(held, FAILED)
    failing = await store.webhooks.get(webhook.id, "default")
    assert failing.enabled
    assert failing.failing_since is not None
    async with store._database.write() as transaction:
        long_ago = transaction.now - DISABLED_AFTER
        await transaction.execute(update(webhooks).values(failing_since=long_ago))
    await set_times(store, due_at=-1)
    [held] = await claim(store)
    await store.webhook_leases.finish(held, FAILED)
    disabled = await store.webhooks.get(webhook.id, "default")
    assert not disabled.enabled
    assert (
        disabled.disabled_reason
        == f"all calls since {long_ago:%Y-%m-%d %H:%M} UTC failed, the last with webhook_refused"
    )
    enabled = await store.webhooks.change(webhook.id, "default", WebhookChange(enabled=True))
    assert (enabled.enabled, enabled.failing_since) == (True, None)


async def test_a_receiver_that_is_gone_is_disabled_at_once_and_a_success_ends_a_failure(store: Store) -> None:
    webhook = await create(store)
    for _ in range(2):
        await make_ready(store)
    first, second = await claim(store)
    await store.webhook_leases.finish(first, FAILED)
    await store.webhook_leases.finish(second, DONE)
    assert (await store.webhooks.get(webhook.id, "default")).failing_since is None
    await set_times(store, due_at=-1)
    [first] = await claim(store)
    await store.webhook_leases.finish(first, NewAttempt(0.1, 410, "webhook_refused", "the receiver answered 410"))
    assert (await store.webhooks.get(webhook.id, "default")).disabled_reason == "the receiver answered 410 Gone"


async def test_a_lease_that_ended_or_cannot_be_is_taken_over(store: Store) -> None:
    await create(store)
    await make_ready(store)
    [lost] = await claim(store)
    assert await claim(store) == ()
    await set_times(store, lease_expires_at=-1)
    [taken] = await claim(store, owner="two")
    with pytest.raises(LeaseLost, match="deliverer one lost"):
        await store.webhook_leases.finish(lost, DONE)
    with pytest.raises(LeaseLost):
        await store.webhook_leases.release(lost)
    # The database's clock was set back: the lease would end, and the delivery be due, in a year.
    await set_times(store, lease_expires_at=3e7)
    [taken] = await claim(store)
    await store.webhook_leases.release(taken)
    await set_times(store, due_at=3e7)
    assert await store.webhook_leases.seconds_until_due() == 0
    [taken] = await claim(store)
    await store.webhook_leases.finish(taken, DONE)


async def test_what_a_late_deliverer_finishes_just_then_is_not_claimed_again(url: str) -> None:
    async with several_stores(url, 2) as (one, two):
        webhook = await create(one)
        for _ in range(20):
            await one.webhooks.test(webhook.id, "default")
            [late] = await claim(one)
            await set_times(one, lease_expires_at=-1)
            finished, again = await asyncio.gather(
                one.webhook_leases.finish(late, DONE), claim(two, owner="two"), return_exceptions=True
            )
            if isinstance(finished, LeaseLost):
                await two.webhook_leases.finish(again[0], DONE)  # type: ignore[index]
            else:
                assert again == (), "the call was made"
        async with one._database.read() as connection:
            leases = await connection.execute(select(webhook_deliveries.c.lease_owner).distinct())
            assert leases.scalars().all() == [None]


async def test_a_delivery_that_is_sent_again_and_again_does_not_grow_without_end(store: Store) -> None:
    webhook = await create(store)
    sent_id = (await store.webhooks.test(webhook.id, "default")).id
    for number in range(KEPT_ATTEMPTS + 3):
        [held] = await claim(store)
        await store.webhook_leases.finish(held, NewAttempt(float(number), 204))
        await store.webhooks.redeliver(webhook.id, sent_id, "default")
    kept = (await store.webhooks.delivery(webhook.id, sent_id)).attempts
    assert [one.seconds for one in kept] == [float(number) for number in range(3, KEPT_ATTEMPTS + 3)]


async def test_a_call_that_was_cut_off_does_not_count(store: Store) -> None:
    webhook = await create(store)
    await make_ready(store)
    [held] = await claim(store)
    with store.watch_webhooks() as watch:
        await store.webhook_leases.release(held)
        assert await watch.wait(5)
    [one] = await sent(store, webhook)
    assert (one.state, one.attempts) == (DeliveryState.PENDING, ())
    assert len(await claim(store)) == 1


async def test_a_webhook_that_is_deleted_during_a_call_leaves_nothing(store: Store) -> None:
    webhook = await create(store)
    await make_ready(store)
    [held] = await claim(store)
    await store.webhook_leases.finish(held, FAILED)
    await set_times(store, due_at=-1)
    [held] = await claim(store)
    assert (await store.webhooks.delete(webhook.id, "default")).id == webhook.id
    with pytest.raises(LeaseLost):
        await store.webhook_leases.finish(held, DONE)
    async with store._database.read() as connection:
        for table in (webhook_deliveries, webhook_attempts):
            assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == 0
