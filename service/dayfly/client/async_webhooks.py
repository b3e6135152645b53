"""Requests of the asynchronous client about webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dayfly.client.async_connection import AsyncConnection
from dayfly.client.transport import path_of
from dayfly.schemas.webhooks import CreatedWebhook, Webhook, WebhookDelivery, WebhookDeliveryList, WebhookList

_PAGE: Final = 100


class AsyncWebhooks(AsyncConnection):
    """Webhooks of the caller's team."""

    async def create_webhook(
        self,
        url: str,
        *,
        events: Sequence[str] | None = None,
        description: str | None = None,
        idempotency_key: str | None = None,
    ) -> CreatedWebhook:
        """Have `url` called for `events` (None: for all). Only this response has the `secret`."""
        fields = {"url": url, "events": events, "description": description}
        body = {name: value for name, value in fields.items() if value is not None}
        return await self._read(CreatedWebhook, "POST", "/v1/webhooks", json=body, key=idempotency_key)

    async def webhooks(self) -> tuple[Webhook, ...]:
        """The team's webhooks, newest first."""
        return (await self._read(WebhookList, "GET", "/v1/webhooks")).webhooks

    async def delete_webhook(self, webhook_id: str) -> Webhook:
        """Delete it, with its deliveries."""
        return await self._read(Webhook, "DELETE", path_of("webhooks", webhook_id), of=webhook_id)

    async def test_webhook(self, webhook_id: str, *, idempotency_key: str | None = None) -> WebhookDelivery:
        """Have a test call made; webhook_delivery() shows how it went."""
        path = path_of("webhooks", webhook_id, "test")
        return await self._read(WebhookDelivery, "POST", path, key=idempotency_key)

    async def webhook_delivery(self, webhook_id: str, delivery_id: str) -> WebhookDelivery:
        """One delivery, with every attempt."""
        return await self._read(WebhookDelivery, "GET", path_of("webhooks", webhook_id, "deliveries", delivery_id))

    async def webhook_deliveries(
        self, webhook_id: str, *, states: Sequence[str] = (), limit: int = _PAGE
    ) -> tuple[WebhookDelivery, ...]:
        """The newest deliveries in one of `states` (none given: in any), at most `limit`."""
        path, found = path_of("webhooks", webhook_id, "deliveries"), list[WebhookDelivery]()
        cursor: str | None = None
        while len(found) < limit:
            most = min(_PAGE, limit - len(found))
            page = await self._read(
                WebhookDeliveryList, "GET", path, query={"state": states, "limit": most, "cursor": cursor}
            )
            found += page.deliveries
            cursor = page.next_cursor
            if cursor is None:
                break
        return tuple(found)
