"""Deliveries to real receivers on 127.0.0.1: that are down, slow or broken, through restarts and by several workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import structlog
from sqlalchemy import update

from dayfly.app import deliverer_of
from dayfly.clock import SystemClock
from dayfly.controllers.webhooks.deliverer import Deliverer, DelivererOptions, without_secrets
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.security.webhook_addresses import networks
from dayfly.domain.webhook import Delivery, Webhook
from dayfly.drivers.interfaces.webhooks import WebhookAnswer, WebhookCall
from dayfly.drivers.webhooks.caller import HttpCaller
from dayfly.errors import DatabaseUnavailable
from dayfly.settings import Settings
from dayfly.store import NewWebhook, Store
from dayfly.store.db.webhook_tables import webhook_deliveries
from dayfly.store.webhook_leases import MOST_CALLS
from dayfly.vocabulary import DeliveryState, WebhookEvent
from tests.support.receiver import LOOPBACK, Receiver, answer, receiving
from tests.support.specs import make_spec
from tests.support.world import World

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def create(store: Store, receiver: Receiver, events: Sequence[WebhookEvent] = tuple(WebhookEvent)) -> Webhook:
    return await store.webhooks.create(NewWebhook("default", receiver.url, tuple(events), SECRET))


@asynccontextmanager
async def delivering(
    store: Store, name: str = "one", *, seconds: float = 5.0, lease_seconds: float = 60.0
) -> AsyncIterator[asyncio.Task[None]]:
    """A deliverer works within the block."""
    caller = HttpCaller(networks(LOOPBACK), seconds)
    options = DelivererOptions(name, lease_seconds=lease_seconds, poll_seconds=0.2)
    task = asyncio.create_task(Deliverer(store, caller, options, SystemClock()).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=20)
        assert task.done()


async def sent(store: Store, webhook: Webhook) -> tuple[Delivery, ...]:
    """Oldest first."""
    return (await store.webhooks.deliveries(webhook.id, limit=100)).deliveries[::-1]


async def until(store: Store, webhook: Webhook, *states: DeliveryState, attempts: int = 0) -> tuple[Delivery, ...]:
    """The webhook's deliveries, once all of them are in one of `states` and had as many attempts."""
    async with asyncio.timeout(20):
        with store.watch_webhooks() as watch:
            while True:
                found = await sent(store, webhook)
                if found and all(one.state in states and len(one.attempts) >= attempts for one in found):
                    return found
                await watch.wait(1)


async def make_due(store: Store) -> None:
    """As time does."""
    async with store._database.write() as transaction:
        values = {"due_at": transaction.now - timedelta(seconds=1)}
        pending = webhook_deliveries.c.state == DeliveryState.PENDING
        await transaction.execute(update(webhook_deliveries).where(pending).values(values))
        transaction.wake("webhooks")


async def test_a_clusters_life_is_told(store: Store) -> None:
    world = World(store)
    async with receiving() as receiver, delivering(store), world.working():
        webhook = await create(store, receiver)
        cluster = await world.until(await world.create(make_spec()), Phase.READY)
        await receiver.until(1)
        await store.lifecycle.delete(cluster.id)
        await world.until(cluster, Phase.DELETED)
        calls = await receiver.until(2)
        await until(store, webhook, DeliveryState.DELIVERED)
    assert [call.message["type"] for call in calls] == ["ready", "deleted"]
    assert all(call.is_signed_with(SECRET) for call in calls)
    assert len({call.headers["webhook-id"] for call in calls}) == 2
    assert calls[0].message["data"]["cluster"]["id"] == cluster.id


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (answer(500, b"oops"), 500, "webhook_refused"),
        (answer(301, location="http://127.0.0.1:1/"), 301, "webhook_refused"),
        (answer(404, b"x" * 10**6), 404, "webhook_refused"),
        (b"\0", None, "webhook_not_http"),
    ],
)
async def test_a_failure_is_shown_and_the_same_message_comes_again(
    store: Store, reply: bytes, status: int | None, code: str
) -> None:
    async with receiving(answers=[reply]) as receiver, delivering(store):
        webhook = await create(store, receiver)
        await store.webhooks.test(webhook.id, "default")
        [failed] = await until(store, webhook, DeliveryState.DEAD)
        [attempt] = failed.attempts
        assert (attempt.status, attempt.error_code) == (status, code)
        assert len(attempt.answer) <= 1000
        if status == 301:
            assert attempt.error == "the receiver answered 301 (redirects are not followed)"
        await store.webhooks.redeliver(webhook.id, failed.id, "default")
        [done] = await until(store, webhook, DeliveryState.DELIVERED)
        assert [one.error_code for one in done.attempts] == [code, None]
        first, second = await receiver.until(2)
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body


async def test_a_receiver_that_is_down_gets_its_messages_later(store: Store) -> None:
    world = World(store)
    async with receiving() as receiver:
        webhook, port = await create(store, receiver, [WebhookEvent.READY]), receiver.port
    async with delivering(store), world.working():
        for _ in range(3):
            await world.until(await world.create(make_spec()), Phase.READY)
        found = await until(store, webhook, DeliveryState.PENDING, attempts=0)
        async with asyncio.timeout(20):
            while not any(one.attempts for one in found):
                await asyncio.sleep(0.05)
                found = await sent(store, webhook)
        assert {made.error_code for one in found for made in one.attempts} == {"webhook_unreachable"}
        assert (await store.webhooks.get(webhook.id, "default")).failing_since is not None
        async with receiving(port=port) as receiver:
            await make_due(store)
            await until(store, webhook, DeliveryState.DELIVERED)
            assert len({call.headers["webhook-id"] for call in receiver.calls}) == 3
        assert (await store.webhooks.get(webhook.id, "default")).failing_since is None


async def test_a_slow_receiver_holds_up_no_other(store: Store) -> None:
    async with receiving(gate=asyncio.Event()) as slow, receiving() as quick, delivering(store, seconds=15.0):
        held, free = await create(store, slow), await create(store, quick)
        for _ in range(30):
            await store.webhooks.test(held.id, "default")
        await slow.until(MOST_CALLS)
        for _ in range(10):
            await store.webhooks.test(free.id, "default")
        await until(store, free, DeliveryState.DELIVERED)
        assert len(quick.calls) == 10
        assert slow.most_at_once == MOST_CALLS == len(slow.calls)
        assert slow.gate is not None
        slow.gate.set()
        await until(store, held, DeliveryState.DELIVERED)
        assert slow.most_at_once == MOST_CALLS


async def test_an_answer_that_does_not_come_is_an_attempt(store: Store) -> None:
    async with receiving(gate=asyncio.Event()) as receiver, delivering(store, seconds=0.2):
        webhook = await create(store, receiver)
        await store.webhooks.test(webhook.id, "default")
        [dead] = await until(store, webhook, DeliveryState.DEAD)
    assert dead.attempts[0].error_code == "webhook_timeout"
    assert dead.attempts[0].seconds >= 0.2


async def test_a_worker_that_stops_in_the_middle_of_a_call_loses_nothing(store: Store) -> None:
    async with receiving(gate=asyncio.Event()) as receiver:
        webhook = await create(store, receiver)
        await store.webhooks.test(webhook.id, "default")
        async with delivering(store, "first"):
            await receiver.until(1)
        [waiting] = await sent(store, webhook)
        assert (waiting.state, waiting.attempts) == (DeliveryState.PENDING, ())
        receiver.gate = None
        async with delivering(store, "second"):
            [done] = await until(store, webhook, DeliveryState.DELIVERED)
        assert len(done.attempts) == 1
        assert {call.headers["webhook-id"] for call in receiver.calls} == {done.message_id}


async def test_a_worker_that_dies_in_the_middle_of_a_call_is_followed_after_its_lease(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dead(*_: object) -> None:
        raise DatabaseUnavailable("a dead process reaches nothing")

    async with receiving(gate=asyncio.Event()) as receiver:
        webhook = await create(store, receiver)
        await store.webhooks.test(webhook.id, "default")
        with monkeypatch.context() as patched:
            patched.setattr(store.webhook_leases, "release", dead)
            patched.setattr(store.webhook_leases, "finish", dead)
            async with delivering(store, "first", lease_seconds=0.5):
                await receiver.until(1)
        receiver.gate = None
        async with delivering(store, "second"):
            await until(store, webhook, DeliveryState.DELIVERED)
        assert len(receiver.calls) == 2


async def test_a_success_that_cannot_be_recorded_is_sent_again_with_the_same_id(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, failures = store.webhook_leases.finish, ["once"]

    async def failing(*arguments: Any) -> DeliveryState:
        if failures:
            failures.pop()
            raise DatabaseUnavailable("away")
        return await finish(*arguments)

    monkeypatch.setattr(store.webhook_leases, "finish", failing)
    async with receiving() as receiver, delivering(store, lease_seconds=0.5):
        webhook = await create(store, receiver)
        await store.webhooks.test(webhook.id, "default")
        await until(store, webhook, DeliveryState.DELIVERED)
        first, second = receiver.calls
        assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def test_two_workers_make_each_call_once(store: Store) -> None:
    async with receiving() as receiver, delivering(store, "first"), delivering(store, "second"):
        webhooks = [await create(store, receiver) for _ in range(4)]
        for webhook in webhooks:
            for _ in range(10):
                await store.webhooks.test(webhook.id, "default")
        for webhook in webhooks:
            found = await until(store, webhook, DeliveryState.DELIVERED)
            assert [len(one.attempts) for one in found] == [1] * 10
        assert len(receiver.calls) == 40


async def test_an_outage_of_the_database_is_waited_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    leases, claim, away = store.webhook_leases, store.webhook_leases.claim, list[str]()

    async def failing(*arguments: Any, **options: Any) -> Any:
        if len(away) < 3:
            away.append("")
            raise DatabaseUnavailable("away")
        return await claim(*arguments, **options)

    monkeypatch.setattr(leases, "claim", failing)
    async with receiving() as receiver, delivering(store) as task:
        webhook = await create(store, receiver)
        await store.webhooks.test(webhook.id, "default")
        await until(store, webhook, DeliveryState.DELIVERED)
        assert not task.done()
    assert len(away) == 3


async def test_a_defect_is_an_attempt_and_the_worker_goes_on(store: Store) -> None:
    class Broken:
        async def call(self, call: WebhookCall) -> WebhookAnswer:
            raise RuntimeError("a defect")

    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    task = asyncio.create_task(Deliverer(store, Broken(), DelivererOptions("one"), SystemClock()).run())
    try:
        async with receiving() as receiver:
            webhook = await create(store, receiver)
            await store.webhooks.test(webhook.id, "default")
            [dead] = await until(store, webhook, DeliveryState.DEAD)
        assert (dead.attempts[0].error_code, task.done()) == ("internal", False)
        assert "defect" not in str(dead.attempts[0].error).replace("Dayfly", "")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        structlog.reset_defaults()


async def test_without_the_setting_a_receiver_on_loopback_is_not_called(store: Store) -> None:
    async with receiving() as receiver:
        webhook = await create(store, receiver)
        for allowed, state in (((), DeliveryState.DEAD), (("127.0.0.1/32",), DeliveryState.DELIVERED)):
            task = asyncio.create_task(
                deliverer_of(Settings(webhook_networks=allowed, poll_seconds=0.2), store, SystemClock()).run()
            )
            made = await store.webhooks.test(webhook.id, "default")
            await until(store, webhook, DeliveryState.DEAD, DeliveryState.DELIVERED)
            seen = await store.webhooks.delivery(webhook.id, made.id)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert seen.state is state
            assert (len(receiver.calls) == 1) is (state is DeliveryState.DELIVERED)
        [first, _] = await sent(store, webhook)
        assert first.attempts[0].error_code == "webhook_address_forbidden"


async def test_the_secret_is_in_no_log_and_no_answer(store: Store) -> None:
    logged: list[Any] = []

    def keep(_: object, __: str, event: Any) -> Any:
        logged.append(repr(event))
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    try:
        echo = answer(500, f"got secret={SECRET} and v1,abc= Authorization: Bearer abc.def".encode())
        async with receiving(answer=echo) as receiver, delivering(store):
            webhook = await create(store, receiver)
            await store.webhooks.test(webhook.id, "default")
            [dead] = await until(store, webhook, DeliveryState.DEAD)
    finally:
        structlog.reset_defaults()
    assert logged, "the failed call is logged"
    shown = f"{dead}{logged}{await store.webhooks.get(webhook.id, 'default')}"
    assert SECRET.removeprefix("whsec_") not in shown
    assert dead.attempts[0].answer == "got … and … …"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no secret here", "no secret here"),
        ("whsec_abc+/=", "…"),
        ("dfly_1_abc", "…"),
        ('{"token": "abc", "a": 1}', '{"…", "a": 1}'),
        ("set-cookie: a=b; c=d\r\nx", "set-…\r\nx"),
        ("access_token=abc", "access_…"),
        ("password=hunter2&x=y", "…&x=y"),
        ("Basic dXNlcjpwYXNz", "…"),
        ("tokens are good", "tokens are good"),
        ("api_key: k", "…"),
    ],
)
def test_what_looks_like_a_secret_is_left_out(text: str, expected: str) -> None:
    assert without_secrets(text) == expected
