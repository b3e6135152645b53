"""A day and more of retries in virtual time, with faults of receivers and deaths of workers at random."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from dayfly.controllers.webhooks.deliverer import Deliverer, DelivererOptions
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.webhook import DISABLED_AFTER, RETRIES, Delivery
from dayfly.drivers.interfaces.webhooks import WebhookAnswer, WebhookCall
from dayfly.errors import WebhookTimeout, WebhookUnreachable
from dayfly.store import NewWebhook, Store
from dayfly.vocabulary import DeliveryState, WebhookEvent
from tests.store.helpers import claim_new, make_ready, move
from tests.support.inline_store import inline_store
from tests.support.virtual_time import LoopClock, VirtualLoop, running_loop

LATER = DelivererOptions("one", poll_seconds=3600.0)


@dataclass
class Played:
    """A receiver: `down` until a time, and unreliable by chance."""

    down_until: datetime
    chance: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311 - a schedule
    failures: float = 0.0
    calls: list[tuple[datetime, str]] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)

    async def call(self, call: WebhookCall) -> WebhookAnswer:
        now = running_loop().now()
        self.calls.append((now, call.message_id))
        if now < self.down_until:
            raise WebhookUnreachable("no connection")
        await asyncio.sleep(self.chance.uniform(0.01, 2.0))
        # Fewer failures of a message than it has attempts after the receiver is up again.
        if self.chance.random() < self.failures and self.failed[call.message_id] < 2:
            self.failed[call.message_id] += 1
            if self.chance.random() < 0.5:
                raise WebhookTimeout("no answer")
            if self.chance.random() < 0.5:
                return WebhookAnswer(503, b"busy")
            # The receiver took it, and the answer was lost.
            self.accepted.append(call.message_id)
            raise WebhookTimeout("no answer")
        self.accepted.append(call.message_id)
        return WebhookAnswer(200, b"")


def in_virtual_time(play: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play)


async def create(store: Store) -> str:
    new = NewWebhook("default", "https://ci.example/", tuple(WebhookEvent), "whsec_" + "A" * 32)
    return (await store.webhooks.create(new)).id


async def sent(store: Store, webhook: str) -> list[Delivery]:
    found: list[Delivery] = []
    cursor = None
    while True:
        page = await store.webhooks.deliveries(webhook, limit=100, cursor=cursor)
        found += page.deliveries
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_a_receiver_that_never_answers_gets_a_day_of_attempts_and_the_letter_is_dead() -> None:
    async def play() -> None:
        with inline_store() as store:
            receiver = Played(running_loop().now() + timedelta(days=365))
            webhook = await create(store)
            working = asyncio.create_task(Deliverer(store, receiver, LATER, LoopClock()).run())
            await make_ready(store)
            began = running_loop().now()
            await asyncio.sleep(RETRIES.total_seconds() + 60)
            [dead] = await sent(store, webhook)
            assert dead.state is DeliveryState.DEAD
            assert 10 <= len(dead.attempts) == len(receiver.calls) <= 20
            assert receiver.calls[-1][0] - began >= RETRIES - timedelta(seconds=5)
            assert dead.ended_at is not None
            assert dead.ended_at - began <= RETRIES + timedelta(seconds=5)
            # Nothing more comes, until a caller asks for it.
            calls = len(receiver.calls)
            await asyncio.sleep(10 * 3600)
            assert len(receiver.calls) == calls
            receiver.down_until = running_loop().now()
            await store.webhooks.redeliver(webhook, dead.id, "default")
            await asyncio.sleep(10)
            [done] = await sent(store, webhook)
            assert done.state is DeliveryState.DELIVERED
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    in_virtual_time(play())


def test_a_webhook_of_which_all_calls_fail_is_disabled_after_days() -> None:
    async def play() -> None:
        with inline_store() as store:
            began = running_loop().now()
            receiver = Played(began + timedelta(days=365))
            webhook = await create(store)
            working = asyncio.create_task(Deliverer(store, receiver, LATER, LoopClock()).run())
            for _ in range(5):
                await make_ready(store)
                await asyncio.sleep(RETRIES.total_seconds())
            seen = await store.webhooks.get(webhook, "default")
            assert not seen.enabled
            assert seen.disabled_reason is not None
            assert seen.disabled_reason.startswith(f"all calls since {began:%Y-%m-%d} 00:00 UTC failed")
            assert receiver.calls[-1][0] - began >= DISABLED_AFTER
            assert receiver.calls[-1][0] - began <= DISABLED_AFTER + timedelta(hours=5)
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    in_virtual_time(play())


@pytest.mark.parametrize("seed", range(3))
def test_no_event_is_lost_whatever_fails(seed: int) -> None:
    """Receivers that fail by chance, and two workers that stop by chance: every event arrives, within the day."""

    async def play() -> None:
        chance = random.Random(seed)  # noqa: S311 - a schedule
        with inline_store() as store:
            receiver = Played(running_loop().now() + timedelta(hours=chance.uniform(0, 6)), chance, failures=0.4)
            webhook = await create(store)
            workers = [asyncio.create_task(_mortal(store, receiver, name, chance)) for name in ("one", "two")]
            for _ in range(10):
                claimed = await claim_new(store)
                await move(store, claimed, Phase.PROVISIONING, Phase.READY)
                await asyncio.sleep(chance.uniform(0, 3600))
                await move(store, claimed, Phase.DELETING, Phase.DELETED)
            await asyncio.sleep(RETRIES.total_seconds())
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            found = await sent(store, webhook)
            assert len(found) == 20
            assert {one.state for one in found} == {DeliveryState.DELIVERED}
            assert {one.message_id for one in found} == set(receiver.accepted)

    in_virtual_time(play())


async def _mortal(store: Store, receiver: Played, name: str, chance: random.Random) -> None:
    """A deliverer that is stopped and started again."""
    while True:
        options = DelivererOptions(name, poll_seconds=3600.0)
        working = asyncio.create_task(Deliverer(store, receiver, options, LoopClock()).run())
        try:
            await asyncio.sleep(chance.uniform(1, 7200))
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
