"""Records what is to be sent to webhooks, in the transaction of the events that cause it; maps rows of webhooks.

A webhook that exists when the transaction commits gets its delivery, or the transaction is rolled back: none is lost
between an event and its deliveries. Not here: other statements (store/webhooks.py, store/webhook_leases.py).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, bindparam, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly.domain.cluster.model import Purpose
from dayfly.domain.webhook import CALLING_TYPES, Attempt, Delivery, Webhook, cluster_message, event_of
from dayfly.store.db import ids
from dayfly.store.db.mapping import cluster_from
from dayfly.store.db.tables import clusters
from dayfly.store.db.webhook_tables import webhook_attempts, webhook_deliveries, webhooks
from dayfly.vocabulary import DeliveryState, WebhookEvent

_DELIVERY: Final = tuple(column for column in webhook_deliveries.c if column.name in Delivery.__dataclass_fields__)
# KEY SHARE waits for a transaction that deletes the webhook, which is then not called, and for no other change: those
# lock NO KEY UPDATE.
_CALLED: Final = (
    select(clusters, webhooks.c.id.label("webhook_id"), webhooks.c.events.label("webhook_events"))
    .join_from(clusters, webhooks, webhooks.c.owner == clusters.c.owner)
    .where(
        clusters.c.id.in_(bindparam("ids", expanding=True)),
        clusters.c.purpose == Purpose.CLUSTER,
        webhooks.c.enabled,
    )
    .with_for_update(of=webhooks, read=True, key_share=True)
)


async def insert_deliveries(connection: AsyncConnection, events: Sequence[Mapping[str, Any]]) -> bool:
    """Insert what these events (rows of `events`) cause; whether there is something to send."""
    calling = [row for row in events if row["type"] in CALLING_TYPES]
    if not calling:
        return False
    found = (await connection.execute(_CALLED, {"ids": sorted({row["cluster_id"] for row in calling})})).all()
    rows = list(_deliveries(calling, found))
    if rows:
        await connection.execute(insert(webhook_deliveries), rows)
    return bool(rows)


def _deliveries(events: Iterable[Mapping[str, Any]], called: Sequence[Row[Any]]) -> Iterable[dict[str, Any]]:
    for event in events:
        message_id = new_message_id()
        for row in called:
            if row.id == event["cluster_id"]:
                cluster = cluster_from(row)
                cause = event_of(event["type"], cluster.phase)
                if cause is not None and cause in row.webhook_events:
                    body = cluster_message(cause, event["at"], cluster)
                    yield delivery_row(row.webhook_id, message_id, cause, body, event["at"], cluster_id=cluster.id)


def new_message_id() -> str:
    return f"msg_{secrets.token_hex(16)}"


def delivery_row(
    webhook_id: str, message_id: str, type_: str, body: str, now: datetime, *, cluster_id: str | None = None
) -> dict[str, Any]:
    """A new row of a delivery that is due at once."""
    return {
        "id": ids.new_id(),
        "webhook_id": webhook_id,
        "message_id": message_id,
        "type": type_,
        "cluster_id": cluster_id,
        "body": body,
        "state": DeliveryState.PENDING,
        "created_at": now,
        "begun_at": now,
        "due_at": now,
    }


def webhook_from(row: Row[Any]) -> Webhook:
    events = tuple(WebhookEvent(event) for event in row.events)
    columns = {name: getattr(row, name) for name in Webhook.__dataclass_fields__}
    return Webhook(**{**columns, "events": events})


def delivery_from(row: Row[Any], attempts: Iterable[Row[Any]] = ()) -> Delivery:
    columns = {column.name: getattr(row, column.name) for column in _DELIVERY if column.name != "attempts"}
    made = tuple(Attempt(**{name: getattr(one, name) for name in Attempt.__dataclass_fields__}) for one in attempts)
    return Delivery(**{**columns, "state": DeliveryState(row.state), "attempts": made})


def attempts_of(delivery_ids: Sequence[str]) -> Any:
    """The attempts of deliveries, oldest first."""
    same = webhook_attempts.c.delivery_id.in_(delivery_ids)
    return select(webhook_attempts).where(same).order_by(webhook_attempts.c.id)
