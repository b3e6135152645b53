"""Leases on deliveries to webhooks: how deliverers claim them, and what only the holder of a claim may write.

As leases on bakes (bake_leases.py), but a claim lasts longer than a call may take, and is not renewed.
Not here: requests of callers (webhooks.py).
"""

from __future__ import annotations

import random
import secrets
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, case, func, insert, or_, select, update

from dayfly.domain.webhook import LONGEST_RETRY, NewAttempt, next_attempt, why_disabled
from dayfly.errors import LeaseLost
from dayfly.store.commands import DeliveryClaim
from dayfly.store.create_locks import lock_webhooks
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.mapping import plain
from dayfly.store.db.secret_columns import OF_WEBHOOKS
from dayfly.store.db.types import DatabaseNow, UtcDateTime
from dayfly.store.db.webhook_tables import UNSENT, webhook_attempts, webhook_deliveries, webhooks
from dayfly.store.notify.commit_notifier import WEBHOOKS
from dayfly.vocabulary import WEBHOOK_TEST, DeliveryState

MOST_CALLS: Final = 4
"""Calls at once to one webhook, by all processes; one while its calls fail: a slow receiver holds up no other."""

_LONGEST: Final = 10
"""A lease that ends later than so many leases from now is impossible: the database's clock was set back."""
_FURTHEST: Final = 2 * LONGEST_RETRY
"""A delivery that is due later is due now, for the same reason."""
_DELIVERY: Final = webhook_deliveries.c
_CALLABLE: Final = or_(webhooks.c.enabled, _DELIVERY.type == WEBHOOK_TEST)
_NO_LEASE: Final = {"lease_owner": None, "lease_token": None, "lease_expires_at": None}
_ANSWER_CHARACTERS: Final = 1000


class WebhookLeases(StorePart):
    """Claim, finish, release. Methods that take a claim raise LeaseLost if another deliverer has it."""

    async def claim(self, owner: str, *, lease_seconds: float, limit: int) -> tuple[DeliveryClaim, ...]:
        """Claim up to `limit` due deliveries: the first of each webhook, then the second of each, and so on."""
        token, lease = secrets.token_hex(16), timedelta(seconds=lease_seconds)
        async with self._database.write() as transaction:
            # The number of calls to a webhook is counted: no other deliverer claims meanwhile.
            await lock_webhooks(transaction)
            now = transaction.now
            ids = (await transaction.execute(_claimable(now, now + _LONGEST * lease, limit))).scalars().all()
            if not ids:
                return ()
            values = {"lease_owner": owner, "lease_token": token, "lease_expires_at": now + lease}
            # Looked at again: the deliverer of a lease that ended may have finished meanwhile.
            still = (_DELIVERY.id.in_(ids), *_unclaimed(now, now + _LONGEST * lease))
            await transaction.execute(update(webhook_deliveries).where(*still).values(values))
            query = select(webhook_deliveries, webhooks.c.url, webhooks.c.secret).join_from(
                webhook_deliveries, webhooks
            )
            rows = (await transaction.execute(query.where(_DELIVERY.lease_token == token))).all()
        place = {id_: number for number, id_ in enumerate(ids)}
        return tuple(self._claim(row, token, owner) for row in sorted(rows, key=lambda row: place[row.id]))

    async def seconds_until_due(self) -> float | None:
        """Seconds until the first pending delivery without a call is due; 0: now; None: there is none."""
        idle = or_(_DELIVERY.lease_expires_at.is_(None), _DELIVERY.lease_expires_at < DatabaseNow())
        first = select(func.min(_DELIVERY.due_at, type_=UtcDateTime())).join_from(webhook_deliveries, webhooks)
        query = select(DatabaseNow(), first.where(UNSENT, _CALLABLE, idle).scalar_subquery())
        async with self._database.read() as connection:
            now, due_at = (await connection.execute(query)).one()
        if due_at is None:
            return None
        return 0.0 if due_at > now + _FURTHEST else max(0.0, (due_at - now).total_seconds())

    async def finish(self, claim: DeliveryClaim, attempt: NewAttempt) -> DeliveryState:
        """Record an attempt and what follows from it: the end of the delivery, another attempt, a disabled webhook."""
        async with self._database.write() as transaction:
            webhook, row = await _lock(transaction, claim)
            now, attempts = transaction.now, row.attempts + 1
            made = {
                **vars(attempt),
                "error": None if attempt.error is None else plain(attempt.error),
                "answer": plain(attempt.answer)[:_ANSWER_CHARACTERS],
            }
            await transaction.execute(insert(webhook_attempts).values(delivery_id=row.id, at=now, **made))
            due_at = None
            if not attempt.succeeded and row.type != WEBHOOK_TEST:
                due_at = next_attempt(attempts, row.begun_at, now, random.random())  # noqa: S311 - jitter
            state = DeliveryState.DEAD if due_at is None else DeliveryState.PENDING
            if attempt.succeeded:
                state = DeliveryState.DELIVERED
            ended_at = now if due_at is None else None
            values = {"state": state, "attempts": attempts, "due_at": due_at, "ended_at": ended_at, **_NO_LEASE}
            await transaction.execute(update(webhook_deliveries).where(_DELIVERY.id == row.id).values(values))
            if attempt.succeeded or row.type != WEBHOOK_TEST:
                values = _health(webhook, attempt, now)
                await transaction.execute(update(webhooks).where(webhooks.c.id == webhook.id).values(values))
            # The webhook may be called again.
            transaction.wake(WEBHOOKS)
            return state

    async def release(self, claim: DeliveryClaim) -> None:
        """Give a delivery back, due as before; the call that was cut off does not count."""
        async with self._database.write() as transaction:
            _, row = await _lock(transaction, claim)
            await transaction.execute(update(webhook_deliveries).where(_DELIVERY.id == row.id).values(_NO_LEASE))
            transaction.wake(WEBHOOKS)

    def _claim(self, row: Row[Any], token: str, owner: str) -> DeliveryClaim:
        keys, place = self._database.secret_keys, OF_WEBHOOKS.place(row.webhook_id)
        return DeliveryClaim(
            row.id,
            row.webhook_id,
            row.message_id,
            row.type,
            row.url,
            row.body,
            partial(keys.open, row.secret, place),
            token=token,
            owner=owner,
        )


def _claimable(now: datetime, latest: datetime, limit: int) -> Any:
    """The ids of deliveries that may be claimed, in the order in which they are."""
    calls = (
        select(_DELIVERY.webhook_id, func.count().label("calls"))
        .where(UNSENT, _leased(now, latest))
        .group_by(_DELIVERY.webhook_id)
        .subquery()
    )
    most = case((webhooks.c.failing_since.is_not(None), 1), else_=MOST_CALLS)
    place = func.row_number().over(partition_by=_DELIVERY.webhook_id, order_by=(_DELIVERY.due_at, _DELIVERY.id))
    ranked = (
        select(
            _DELIVERY.id,
            _DELIVERY.due_at,
            place.label("place"),
            (most - func.coalesce(calls.c.calls, 0)).label("room"),
        )
        .join_from(webhook_deliveries, webhooks)
        .outerjoin(calls, calls.c.webhook_id == _DELIVERY.webhook_id)
        .where(*_unclaimed(now, latest), _CALLABLE)
        .subquery()
    )
    first = select(ranked.c.id).where(ranked.c.place <= ranked.c.room)
    return first.order_by(ranked.c.place, ranked.c.due_at, ranked.c.id).limit(limit)


def _leased(now: datetime, latest: datetime) -> ColumnElement[bool]:
    return and_(_DELIVERY.lease_expires_at > now, _DELIVERY.lease_expires_at <= latest)


def _unclaimed(now: datetime, latest: datetime) -> tuple[ColumnElement[bool], ...]:
    """Pending deliveries that are due and that no deliverer has."""
    free = or_(_DELIVERY.lease_expires_at.is_(None), ~_leased(now, latest))
    return UNSENT, free, or_(_DELIVERY.due_at <= now, _DELIVERY.due_at > now + _FURTHEST)


def _health(webhook: Row[Any], attempt: NewAttempt, now: datetime) -> dict[str, Any]:
    """The columns of a webhook after a call."""
    if attempt.succeeded:
        return {"failing_since": None, "succeeded_at": now}
    since = webhook.failing_since or now
    values: dict[str, Any] = {"failing_since": since}
    if webhook.enabled and (reason := why_disabled(attempt, since, now)) is not None:
        values |= {"enabled": False, "disabled_reason": reason, "updated_at": now}
    return values


async def _lock(transaction: Transaction, claim: DeliveryClaim) -> tuple[Row[Any], Row[Any]]:
    """The rows of the webhook and of the delivery. The webhook's first, as its deletion does."""
    query = select(webhooks).where(webhooks.c.id == claim.webhook_id)
    webhook = (await transaction.execute(query.with_for_update(key_share=True))).one_or_none()
    same = and_(_DELIVERY.id == claim.delivery_id, _DELIVERY.lease_token == claim.token)
    row = (await transaction.execute(select(webhook_deliveries).where(same).with_for_update())).one_or_none()
    if webhook is None or row is None:
        raise LeaseLost(f"deliverer {claim.owner} lost the lease on delivery {claim.delivery_id}")
    return webhook, row
