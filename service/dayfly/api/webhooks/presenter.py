"""Presents webhooks and deliveries of the domain as responses."""

from __future__ import annotations

from typing import Any

from dayfly.domain import webhook as domain
from dayfly.schemas.webhooks import CreatedWebhook, Webhook, WebhookAttempt, WebhookDelivery


def show_webhook(webhook: domain.Webhook) -> Webhook:
    return Webhook.of(webhook, **_fields(webhook))


def show_created(webhook: domain.Webhook, secret: str | None) -> CreatedWebhook:
    """The only response with the secret."""
    return CreatedWebhook.of(webhook, **_fields(webhook), secret=secret)


def show_delivery(delivery: domain.Delivery) -> WebhookDelivery:
    return WebhookDelivery.of(delivery, attempts=tuple(map(WebhookAttempt.of, delivery.attempts)))


def _fields(webhook: domain.Webhook) -> dict[str, Any]:
    return {"team": webhook.owner}
