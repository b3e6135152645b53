"""Webhooks and their deliveries as text."""

from __future__ import annotations

from collections.abc import Sequence

from dayfly.cli.formatting import format_age, format_duration, format_table, printable_line
from dayfly.client import CreatedWebhook, Webhook, WebhookAttempt, WebhookDelivery


def webhooks(found: Sequence[Webhook]) -> str:
    return format_table(
        ("ID", "URL", "EVENTS", "STATE", "AGE"),
        [(one.id, one.url, ",".join(one.events), _state(one), format_age(one.created_at)) for one in found],
    )


def created(one: CreatedWebhook) -> str:
    if one.secret is None:
        return f"webhook {one.id} was created before, and its secret shown then"
    return f"webhook {one.id} is created; its secret, which is not shown again:\n{one.secret}"


def deliveries(found: Sequence[WebhookDelivery]) -> str:
    return format_table(
        ("ID", "TYPE", "CLUSTER", "STATE", "ATTEMPTS", "LAST ATTEMPT", "AGE"),
        [
            (
                *(one.id, one.type, one.cluster_id or "-", str(one.state), str(len(one.attempts))),
                _attempt(one.attempts[-1]) if one.attempts else "-",
                format_age(one.created_at),
            )
            for one in found
        ],
    )


def sentence(one: WebhookDelivery) -> str:
    last = one.attempts[-1]
    return f"the receiver answered {last.status} in {format_duration(last.seconds)}"


def _state(one: Webhook) -> str:
    if not one.enabled:
        return f"disabled: {printable_line(one.disabled_reason or '')}"
    return "failing" if one.failing_since else "enabled"


def _attempt(one: WebhookAttempt) -> str:
    words = [str(one.status) if one.status else "", one.error_code or "", f"({format_duration(one.seconds)})"]
    return " ".join(filter(None, words))
