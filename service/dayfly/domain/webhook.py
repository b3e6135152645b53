"""Webhooks: addresses of a team that are called when something happens to its clusters, and the rules of retries.

Not here: which addresses may be called (security/webhook_addresses.py), signatures and HTTP (drivers/webhooks/).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from dayfly.domain.cluster.model import Cluster
from dayfly.vocabulary import WEBHOOK_TEST, DeliveryState, Phase, WebhookEvent

MOST_WEBHOOKS: Final = 20
"""Of one team: each event makes a delivery for each of them."""
MOST_TESTS: Final = 100
"""Test calls of one webhook that are not made yet."""
KEPT_ATTEMPTS: Final = 50
"""Of a delivery that is sent again on request: more than a day has."""
RETRIES: Final = timedelta(days=1)
"""How long a delivery is attempted; the last attempt is at the end of this time."""
DISABLED_AFTER: Final = timedelta(days=3)
"""A webhook all of whose calls failed for so long is disabled by its next failed call."""
GONE: Final = 410
"""The status by which a receiver says that it wants no more calls."""
LONGEST_RETRY: Final = timedelta(hours=4)

_FIRST_RETRY: Final = timedelta(seconds=5)
_FACTOR: Final = 3
_JITTER: Final = 0.2
_MOST_GROWTH: Final = 10
"""Beyond, the back-off is LONGEST_RETRY in any case."""
_PHASES: Final = {
    Phase.READY: WebhookEvent.READY,
    Phase.FAILED: WebhookEvent.FAILED,
    Phase.HIBERNATED: WebhookEvent.HIBERNATED,
    Phase.DELETED: WebhookEvent.DELETED,
}
CALLING_TYPES: Final = frozenset({"phase", "cluster.expiring"})
"""Types of a cluster's events that webhooks may be called for."""


@dataclass(frozen=True)
class Webhook:
    """A team's webhook, without its secret. `failing_since`: the first failed call after the last success."""

    id: str
    owner: str
    url: str
    description: str
    events: tuple[WebhookEvent, ...]
    enabled: bool
    disabled_reason: str | None
    created_at: datetime
    updated_at: datetime
    failing_since: datetime | None
    succeeded_at: datetime | None


@dataclass(frozen=True)
class NewAttempt:
    """How one call ended: with a status and the beginning of the answer, or with an error."""

    seconds: float
    status: int | None = None
    error_code: str | None = None
    error: str | None = None
    answer: str = ""

    @property
    def succeeded(self) -> bool:
        return self.error_code is None


@dataclass(frozen=True, kw_only=True)
class Attempt(NewAttempt):
    """A call that was made, at the time of its end."""

    at: datetime


@dataclass(frozen=True)
class Delivery:
    """One message to one webhook, with its attempts, oldest first: all, or the last ones of one often sent again."""

    id: str
    webhook_id: str
    message_id: str
    type: str
    cluster_id: str | None
    state: DeliveryState
    created_at: datetime
    due_at: datetime | None
    ended_at: datetime | None
    attempts: tuple[Attempt, ...] = ()


def event_of(event_type: str, phase: Phase) -> WebhookEvent | None:
    """What webhooks are called for after a cluster's event of this type, of a cluster that is now in `phase`."""
    if event_type == "cluster.expiring":
        return WebhookEvent.EXPIRING
    return _PHASES.get(phase) if event_type == "phase" else None


def cluster_message(event: WebhookEvent, at: datetime, cluster: Cluster) -> str:
    """The body of a call about a cluster (schemas/webhooks.WebhookMessage)."""
    fault = cluster.fault
    error = fault and {"code": fault.code, "message": fault.message, "step": fault.step, "node": fault.node}
    about = {
        "id": cluster.id,
        "name": cluster.name,
        "phase": cluster.phase,
        "labels": dict(cluster.spec.labels),
        "generation": cluster.generation,
        "created_at": _time(cluster.created_at),
        "ready_at": _time(cluster.ready_at),
        "expires_at": _time(cluster.expires_at),
        "error": error,
    }
    return _message(event, at, {"team": cluster.owner, "cluster": about, "quota": None})


def quota_message(at: datetime, team: str, name: str, limit: int, used: int, wanted: int) -> str:
    """The body of a call about a request that was refused because of a quota."""
    about = {"name": name, "limit": limit, "used": used, "wanted": wanted}
    return _message(WebhookEvent.QUOTA, at, {"team": team, "cluster": None, "quota": about})


def call_message(at: datetime, team: str) -> str:
    """The body of a test call."""
    return _message(WEBHOOK_TEST, at, {"team": team, "cluster": None, "quota": None})


def _message(event: str, at: datetime, data: dict[str, Any]) -> str:
    return json.dumps({"type": event, "timestamp": _time(at), "data": data}, separators=(",", ":"))


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def next_attempt(attempts: int, since: datetime, now: datetime, draw: float) -> datetime | None:
    """When to call again after so many failed attempts, the first at `since`; None: never.

    `draw`: a random number from 0 to 1, so that many deliveries do not come back at once.
    """
    end = since + RETRIES
    if now >= end:
        return None
    growth: int = _FACTOR ** min(attempts - 1, _MOST_GROWTH)
    pause = min(_FIRST_RETRY * growth, LONGEST_RETRY)
    return min(now + pause * (1 - _JITTER + 2 * _JITTER * draw), end)


def why_disabled(attempt: NewAttempt, failing_since: datetime, now: datetime) -> str | None:
    """The reason to disable a webhook after a failed call; None: it stays enabled."""
    if attempt.status == GONE:
        return "the receiver answered 410 Gone"
    if now - failing_since >= DISABLED_AFTER:
        return f"all calls since {failing_since:%Y-%m-%d %H:%M} UTC failed, the last with {attempt.error_code}"
    return None
