"""Calls to receivers of webhooks, as deliverers need them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class WebhookCall:
    """One signed call. `message_id` is that of every attempt at the same message; `secret` is `whsec_…`."""

    url: str
    message_id: str
    at: datetime
    body: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class WebhookAnswer:
    """What a receiver answered; `beginning`: of its body."""

    status: int
    beginning: bytes


class WebhookCaller(Protocol):
    async def call(self, call: WebhookCall) -> WebhookAnswer:
        """Raises WebhookAddressForbidden, WebhookUnreachable, WebhookTlsFailed, WebhookTimeout, WebhookNotHttp.

        Every answer is returned, a redirect as well: redirects are not followed.
        """
