"""Webhooks and deliveries of a store, for tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import update

from dayfly.domain.webhook import Delivery, NewAttempt, Webhook
from dayfly.store import DeliveryClaim, NewWebhook, Store
from dayfly.store.db.webhook_tables import webhook_deliveries
from dayfly.vocabulary import WebhookEvent

ALL = tuple(WebhookEvent)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FAILED = NewAttempt(0.5, 500, "webhook_refused", "the receiver answered 500", "oops")
DONE = NewAttempt(0.5, 204)


async def create(store: Store, owner: str = "default", events: tuple[WebhookEvent, ...] = ALL, **more: Any) -> Webhook:
    return await store.webhooks.create(NewWebhook(owner, "https://ci.example/", events, SECRET, **more))


async def sent(store: Store, webhook: Webhook) -> list[Delivery]:
    """At most 100, oldest first."""
    return list((await store.webhooks.deliveries(webhook.id, limit=100)).deliveries[::-1])


async def types(store: Store, webhook: Webhook) -> list[str]:
    return sorted(one.type for one in await sent(store, webhook))


async def claim(store: Store, limit: int = 100, owner: str = "one", seconds: float = 60.0) -> tuple[DeliveryClaim, ...]:
    return await store.webhook_leases.claim(owner, lease_seconds=seconds, limit=limit)


async def set_times(store: Store, **seconds: float) -> None:
    """Set columns of all deliveries to so many seconds from now."""
    async with store._database.write() as transaction:
        values = {name: transaction.now + timedelta(seconds=given) for name, given in seconds.items()}
        await transaction.execute(update(webhook_deliveries).values(values))
