"""Bakes: created, found, listed and cancelled by callers. Not here: what builders report (bake_leases.py)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, func, insert, select

from dayfly.domain.bake import ENDED, Bake, BakeEvent, BakeOrder, NewBakeEvent
from dayfly.domain.security.principal import EVERYWHERE, Scope
from dayfly.errors import BakeQueueFull, NotFound
from dayfly.store.commands import BakePage, IdempotencyKey
from dayfly.store.create_locks import lock_bakes
from dayfly.store.db import ids, tables
from dayfly.store.db.bake_rows import append, bake_event_from, bake_from, order_values, write
from dayfly.store.db.cursors import cursor_of, older_than
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.shared_queries import in_scope
from dayfly.store.db.tables import bake_events, bakes
from dayfly.store.db.types import UtcDateTime
from dayfly.store.idempotency_keys import record_use, require_new
from dayfly.store.notify.commit_notifier import BAKES, request_topic
from dayfly.vocabulary import BakePhase

MOST_UNENDED: Final = 100
"""Bakes that are queued or running. A bake takes minutes to an hour."""

_NEWEST_FIRST: Final = (bakes.c.created_at.desc(), bakes.c.id.desc())


class BakeQueries(StorePart):
    async def create(self, order: BakeOrder, owner: str, key: IdempotencyKey | None = None) -> Bake:
        """Queue a bake. Raises BakeQueueFull, CarriedOut, IdempotencyKeyReused."""
        async with self._database.write(caller_waits=True) as transaction:
            await require_new(transaction, key)
            await lock_bakes(transaction)
            made = await insert_bake(transaction, order, owner)
            transaction.concerns("bake", made.id, order.recipe)
            await record_use(transaction, key, resource_id=made.id)
            return made

    async def get(self, bake_id: str, scope: Scope = EVERYWHERE) -> Bake:
        """Raises NotFound."""
        visible = in_scope(bakes.c.owner, scope)
        if (row := await self._row(select(bakes).where(bakes.c.id == bake_id, *visible))) is None:
            raise NotFound(f"no bake {bake_id}")
        return bake_from(row)

    async def list(
        self,
        *,
        phases: Collection[BakePhase] = (),
        recipe: str | None = None,
        owner: str | None = None,
        scope: Scope = EVERYWHERE,
        limit: int = 100,
        cursor: str | None = None,
    ) -> BakePage:
        """Bakes in `scope`, in one of `phases` (empty: in any), of `recipe` and of `owner` (None: of all).

        Newest first. Raises InvalidRequest for an invalid cursor.
        """
        wanted: list[ColumnElement[bool]] = [*in_scope(bakes.c.owner, scope)]
        if phases:
            wanted.append(bakes.c.phase.in_(sorted(phases)))
        if recipe is not None:
            wanted.append(bakes.c.recipe == recipe)
        if owner is not None:
            wanted.append(bakes.c.owner == owner)
        if cursor is not None:
            wanted.append(older_than(cursor, bakes))
        rows = await self._rows(select(bakes).where(*wanted).order_by(*_NEWEST_FIRST).limit(limit + 1))
        page = rows[:limit]
        return BakePage(tuple(map(bake_from, page)), cursor_of(page[-1]) if len(rows) > limit else None)

    async def events(self, bake_id: str, *, after: int = 0, limit: int = 500) -> tuple[BakeEvent, ...]:
        """Events with an id greater than `after`, oldest first. Events of a bake become visible in id order."""
        same = (bake_events.c.bake_id == bake_id, bake_events.c.id > after)
        query = select(bake_events).where(*same).order_by(bake_events.c.id).limit(limit)
        return tuple(map(bake_event_from, await self._rows(query)))

    async def cancel(self, bake_id: str) -> Bake:
        """Cancel a queued bake; request it of a running one's builder. May be repeated; an ended bake stays as it is.

        Raises NotFound.
        """
        async with self._database.write(caller_waits=True) as transaction:
            query = select(bakes).where(bakes.c.id == bake_id).with_for_update()
            row = (await transaction.execute(query)).one_or_none()
            if row is None:
                raise NotFound(f"no bake {bake_id}")
            transaction.concerns("bake", row.id, row.recipe)
            bake = bake_from(row)
            if bake.phase in ENDED or bake.cancel_requested_at is not None:
                return bake
            values: dict[str, Any] = {"cancel_requested_at": transaction.now}
            if bake.phase is BakePhase.QUEUED:
                # Nothing of the bake exists: a builder that gave it back had removed what was unfinished.
                values |= {"phase": BakePhase.CANCELLED, "ended_at": transaction.now}
                events = [NewBakeEvent("cancelled")]
            else:
                values["due_at"] = transaction.now
                events = [NewBakeEvent("cancel_requested")]
                transaction.wake(BAKES, request_topic(bake_id))
            await append(transaction, bake_id, events)
            return await write(transaction, bake_id, values)

    async def count(self) -> Mapping[BakePhase, int]:
        """How many bakes are on record in each phase."""
        query = select(bakes.c.phase, func.count().label("number")).group_by(bakes.c.phase)
        present = {BakePhase(row.phase): int(row.number) for row in await self._rows(query)}
        return {phase: present.get(phase, 0) for phase in BakePhase}

    async def oldest_queued_at(self) -> datetime | None:
        """When the bake that waits longest was requested; None: no bake is queued."""
        oldest = func.min(bakes.c.created_at, type_=UtcDateTime()).label("oldest")
        row = await self._row(select(oldest).where(tables.UNENDED, bakes.c.phase == BakePhase.QUEUED))
        return None if row is None else row.oldest


async def insert_bake(transaction: Transaction, order: BakeOrder, owner: str, why: str = "") -> Bake:
    """Queue a bake, in the transaction of a caller that has locked the bakes. Raises BakeQueueFull."""
    unended = select(func.count()).select_from(bakes).where(tables.UNENDED)
    if (await transaction.execute(unended)).scalar_one() >= MOST_UNENDED:
        raise BakeQueueFull(f"{MOST_UNENDED} bakes are queued or running already: repeat the request later")
    row = {
        "id": ids.new_id(),
        "owner": owner,
        **order_values(order),
        "phase": BakePhase.QUEUED,
        "created_at": transaction.now,
        "due_at": transaction.now,
    }
    made = bake_from((await transaction.execute(insert(bakes).values(row).returning(bakes))).one())
    await append(transaction, made.id, [NewBakeEvent("queued", why)])
    transaction.wake(BAKES)
    return made
