"""Webhooks and their deliveries: created, found, listed, changed and repeated by callers.

Not here: deliveries that events cause (db/webhook_messages.py), and what deliverers report (webhook_leases.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Delete, Row, delete, func, insert, select, update

from dayfly.domain.webhook import KEPT_ATTEMPTS, MOST_TESTS, MOST_WEBHOOKS, Delivery, Webhook, call_message
from dayfly.errors import Conflict, NotFound, WebhookDisabled, WebhookLimit
from dayfly.store.commands import UNSET, DeliveryPage, IdempotencyKey, NewWebhook, WebhookChange
from dayfly.store.create_locks import lock_webhooks
from dayfly.store.db import ids
from dayfly.store.db.cursors import cursor_of, older_than
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.mapping import storable
from dayfly.store.db.secret_columns import OF_WEBHOOKS
from dayfly.store.db.webhook_messages import attempts_of, delivery_from, delivery_row, new_message_id, webhook_from
from dayfly.store.db.webhook_tables import UNSENT, webhook_attempts, webhook_deliveries, webhooks
from dayfly.store.idempotency_keys import record_use, require_new
from dayfly.store.notify.commit_notifier import WEBHOOKS
from dayfly.vocabulary import WEBHOOK_TEST, DeliveryState

_DELIVERIES: Final = webhook_deliveries.c
_NEWEST_FIRST: Final = (_DELIVERIES.created_at.desc(), _DELIVERIES.id.desc())


class WebhookQueries(StorePart):
    """A webhook belongs to a team (`owner`): that of another team is not found."""

    async def create(self, new: NewWebhook, key: IdempotencyKey | None = None) -> Webhook:
        """Raises WebhookLimit, CarriedOut, IdempotencyKeyReused."""
        async with self._database.write(caller_waits=True) as transaction:
            await require_new(transaction, key)
            await lock_webhooks(transaction, new.owner)
            count = select(func.count()).select_from(webhooks).where(webhooks.c.owner == new.owner)
            if (await transaction.execute(count)).scalar_one() >= MOST_WEBHOOKS:
                raise WebhookLimit(f"the team has {MOST_WEBHOOKS} webhooks already: delete one first")
            webhook_id = ids.new_id()
            row = {
                "id": webhook_id,
                "owner": new.owner,
                "url": new.url,
                "description": storable(new.description),
                "events": list(new.events),
                "secret": await transaction.seal(new.secret, OF_WEBHOOKS.place(webhook_id)),
                "enabled": True,
                "created_at": transaction.now,
                "updated_at": transaction.now,
            }
            made = (await transaction.execute(insert(webhooks).values(row).returning(webhooks))).one()
            transaction.concerns("webhook", made.id)
            await record_use(transaction, key, resource_id=made.id)
            return webhook_from(made)

    async def get(self, webhook_id: str, owner: str) -> Webhook:
        """Raises NotFound."""
        row = await self._row(select(webhooks).where(*_same(webhook_id, owner)))
        if row is None:
            raise _no_webhook(webhook_id)
        return webhook_from(row)

    async def list(self, owner: str) -> tuple[Webhook, ...]:
        """A team's webhooks, newest first."""
        query = select(webhooks).where(webhooks.c.owner == owner)
        rows = await self._rows(query.order_by(webhooks.c.created_at.desc(), webhooks.c.id.desc()))
        return tuple(map(webhook_from, rows))

    async def change(
        self, webhook_id: str, owner: str, change: WebhookChange, check: Callable[[Webhook], None] = lambda _: None
    ) -> Webhook:
        """Raises NotFound, and what `check` raises of the webhook as it is before."""
        async with self._database.write(caller_waits=True) as transaction:
            old = webhook_from(await _lock(transaction, webhook_id, owner))
            check(old)
            values: dict[str, Any] = {"updated_at": transaction.now}
            if change.url is not UNSET:
                values["url"] = change.url
            if change.events is not UNSET:
                values["events"] = list(change.events)
            if change.description is not UNSET:
                values["description"] = storable(change.description)
            if change.enabled is not UNSET:
                values["enabled"] = change.enabled
                if change.enabled and not old.enabled:
                    # What waited meanwhile is sent, and the time of failure begins anew.
                    values |= {"disabled_reason": None, "failing_since": None}
                    transaction.wake(WEBHOOKS)
                elif not change.enabled and old.enabled:
                    values["disabled_reason"] = "by request"
            same = update(webhooks).where(webhooks.c.id == webhook_id).values(values).returning(webhooks)
            return webhook_from((await transaction.execute(same)).one())

    async def delete(self, webhook_id: str, owner: str) -> Webhook:
        """Delete a webhook with its deliveries; the webhook as it was. Raises NotFound."""
        async with self._database.write(caller_waits=True) as transaction:
            old = webhook_from(await _lock(transaction, webhook_id, owner, to_delete=True))
            await transaction.execute(delete(webhooks).where(webhooks.c.id == webhook_id))
            return old

    async def deliveries(
        self,
        webhook_id: str,
        *,
        states: Sequence[DeliveryState] = (),
        limit: int = 20,
        cursor: str | None = None,
    ) -> DeliveryPage:
        """Deliveries in one of `states` (empty: in any), newest first. Raises InvalidRequest for an invalid cursor."""
        wanted: list[ColumnElement[bool]] = [_DELIVERIES.webhook_id == webhook_id]
        if states:
            wanted.append(_DELIVERIES.state.in_(sorted(states)))
        if cursor is not None:
            wanted.append(older_than(cursor, webhook_deliveries))
        query = select(webhook_deliveries).where(*wanted).order_by(*_NEWEST_FIRST).limit(limit + 1)
        rows = await self._rows(query)
        page = rows[:limit]
        return DeliveryPage(await self._with_attempts(page), cursor_of(page[-1]) if len(rows) > limit else None)

    async def delivery(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Raises NotFound."""
        query = select(webhook_deliveries).where(_DELIVERIES.id == delivery_id, _DELIVERIES.webhook_id == webhook_id)
        row = await self._row(query)
        if row is None:
            raise _no_delivery(delivery_id)
        return (await self._with_attempts([row]))[0]

    async def test(self, webhook_id: str, owner: str, key: IdempotencyKey | None = None) -> Delivery:
        """Have a test call made, even of a disabled webhook.

        Raises NotFound, Conflict, CarriedOut, IdempotencyKeyReused.
        """
        async with self._database.write(caller_waits=True) as transaction:
            await require_new(transaction, key)
            await _lock(transaction, webhook_id, owner)
            await _require_room_for_test(transaction, webhook_id)
            body = call_message(transaction.now, owner)
            row = delivery_row(webhook_id, new_message_id(), WEBHOOK_TEST, body, transaction.now)
            new = insert(webhook_deliveries).values(row).returning(webhook_deliveries)
            made = delivery_from((await transaction.execute(new)).one())
            await record_use(transaction, key, resource_id=made.id)
            transaction.wake(WEBHOOKS)
            return made

    async def redeliver(
        self, webhook_id: str, delivery_id: str, owner: str, key: IdempotencyKey | None = None
    ) -> Delivery:
        """Send a delivery again, with attempts for another day; a pending one at once.

        Raises NotFound, WebhookDisabled, CarriedOut, IdempotencyKeyReused.
        """
        async with self._database.write(caller_waits=True) as transaction:
            await require_new(transaction, key)
            webhook = await _lock(transaction, webhook_id, owner)
            query = select(webhook_deliveries).where(
                _DELIVERIES.id == delivery_id, _DELIVERIES.webhook_id == webhook_id
            )
            row = (await transaction.execute(query.with_for_update())).one_or_none()
            if row is None:
                raise _no_delivery(delivery_id)
            if not webhook.enabled and row.type != WEBHOOK_TEST:
                raise WebhookDisabled(f"webhook {webhook_id} is disabled ({webhook.disabled_reason}): enable it first")
            await transaction.execute(_forget_attempts(delivery_id))
            now = transaction.now
            values = {"state": DeliveryState.PENDING, "due_at": now, "begun_at": now, "attempts": 0, "ended_at": None}
            again = update(webhook_deliveries).where(_DELIVERIES.id == delivery_id).values(values)
            changed = (await transaction.execute(again.returning(webhook_deliveries))).one()
            await record_use(transaction, key, resource_id=delivery_id)
            transaction.wake(WEBHOOKS)
            attempts = (await transaction.execute(attempts_of([delivery_id]))).all()
            return delivery_from(changed, attempts)

    async def _with_attempts(self, rows: Sequence[Row[Any]]) -> tuple[Delivery, ...]:
        found: defaultdict[str, list[Row[Any]]] = defaultdict(list)
        if rows:
            for one in await self._rows(attempts_of([row.id for row in rows])):
                found[one.delivery_id].append(one)
        return tuple(delivery_from(row, found[row.id]) for row in rows)


def _same(webhook_id: str, owner: str) -> tuple[ColumnElement[bool], ...]:
    return webhooks.c.id == webhook_id, webhooks.c.owner == owner


async def _lock(transaction: Transaction, webhook_id: str, owner: str, *, to_delete: bool = False) -> Row[Any]:
    """The webhook's row, locked before those of its deliveries. Events wait for a deletion only. Raises NotFound."""
    query = select(webhooks).where(*_same(webhook_id, owner)).with_for_update(key_share=not to_delete)
    row: Row[Any] | None = (await transaction.execute(query)).one_or_none()
    if row is None:
        raise _no_webhook(webhook_id)
    transaction.concerns("webhook", webhook_id)
    return row


async def _require_room_for_test(transaction: Transaction, webhook_id: str) -> None:
    """Raises Conflict where as many test calls wait already as may: a receiver may be slower than its caller."""
    waiting = (_DELIVERIES.webhook_id == webhook_id, _DELIVERIES.type == WEBHOOK_TEST, UNSENT)
    count = select(func.count()).select_from(webhook_deliveries).where(*waiting)
    if (await transaction.execute(count)).scalar_one() >= MOST_TESTS:
        raise Conflict(f"{MOST_TESTS} test calls of webhook {webhook_id} are not made yet: wait for their end")


def _forget_attempts(delivery_id: str) -> Delete:
    """Removes the oldest attempts of a delivery: one that is repeated again and again must not grow without end."""
    same = webhook_attempts.c.delivery_id == delivery_id
    newest = select(webhook_attempts.c.id).where(same).order_by(webhook_attempts.c.id.desc()).limit(KEPT_ATTEMPTS)
    return delete(webhook_attempts).where(same, webhook_attempts.c.id.not_in(newest))


def _no_webhook(webhook_id: str) -> NotFound:
    return NotFound(f"no webhook {webhook_id}")


def _no_delivery(delivery_id: str) -> NotFound:
    return NotFound(f"the webhook has no delivery {delivery_id}")
