"""Leases on bakes: how builders claim them, and what only the holder of a claim may write.

As leases on clusters (clusters/leases.py): every write locks the row by id and token. Not here: requests (bakes.py).
"""

from __future__ import annotations

import secrets as random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Row, and_, func, or_, select

from dayfly.domain.bake import ENDED, Bake, BakedImage, NewBakeEvent
from dayfly.domain.cluster.model import Fault
from dayfly.domain.scheduling.resources import Resources
from dayfly.errors import LeaseLost
from dayfly.store.commands import BakeClaim
from dayfly.store.create_locks import lock_bakes
from dayfly.store.db import tables
from dayfly.store.db.bake_rows import append, bake_from, fault_values, write
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.tables import bakes, images
from dayfly.store.notify.commit_notifier import BAKES, QUEUE
from dayfly.vocabulary import BakePhase

_LONGEST: Final = 10
"""A lease that ends later than so many leases from now is impossible: the database's clock was set back."""
_NO_LEASE: Final = {"lease_owner": None, "lease_token": None, "lease_expires_at": None, "lease_host": None}
_NO_ROOM: Final = {"vcpus": 0, "memory_mib": 0, "disk_gib": 0, "room_asked_at": None, "reserved": False}
"""Of a bake without a machine: it holds nothing of the host."""


class BakeLeases(StorePart):
    """Claim, renew, record, give back, end. Methods that take a claim raise LeaseLost if another builder has it."""

    async def claim(self, owner: str, host: str, *, lease_seconds: float, per_host: int) -> BakeClaim | None:
        """Claim the first bake that no builder has, unless builders of `host` have `per_host` bakes already.

        The claim counts as an attempt, unless the bake is to be cancelled. None: there is nothing to claim.
        """
        token, lease = random.token_hex(16), timedelta(seconds=lease_seconds)
        async with self._database.write() as transaction:
            await lock_bakes(transaction)
            now = transaction.now
            valid = and_(bakes.c.lease_expires_at > now, bakes.c.lease_expires_at <= now + _LONGEST * lease)
            here = select(func.count()).select_from(bakes).where(tables.UNENDED, valid, bakes.c.lease_host == host)
            if (await transaction.execute(here)).scalar_one() >= per_host:
                return None
            free = or_(bakes.c.lease_expires_at.is_(None), ~valid)
            first = select(bakes).where(tables.UNENDED, bakes.c.due_at <= now, free)
            first = first.order_by(bakes.c.created_at, bakes.c.id).limit(1).with_for_update(skip_locked=True)
            row = (await transaction.execute(first)).one_or_none()
            if row is None:
                return None
            begins = row.cancel_requested_at is None
            if begins:
                message = "after its builder ended" if row.phase == BakePhase.RUNNING else ""
                await append(transaction, row.id, [NewBakeEvent("started", message)])
            values = {
                "phase": BakePhase.RUNNING,
                "started_at": row.started_at or now,
                "attempts": row.attempts + begins,
                "lease_owner": owner,
                "lease_token": token,
                "lease_expires_at": now + lease,
                "lease_host": host,
                **_NO_ROOM,  # what a builder that died had: its bake's machine ended with it
            }
            if row.reserved:
                transaction.wake(QUEUE)
            return BakeClaim(await write(transaction, row.id, values), token, owner)

    async def renew(self, claim: BakeClaim, *, lease_seconds: float) -> Bake:
        """Extend the lease by `lease_seconds` from now; the current bake, for a request to cancel it."""
        async with self._database.write() as transaction:
            row = await _lock(transaction, claim)
            if row.phase in ENDED:
                return bake_from(row)  # its holder has just ended it
            until = transaction.now + timedelta(seconds=lease_seconds)
            changed = bakes.update().where(bakes.c.id == row.id).values(lease_expires_at=until).returning(bakes)
            return bake_from((await transaction.execute(changed)).one())

    async def record(self, claim: BakeClaim, events: Sequence[NewBakeEvent]) -> None:
        """Add events at the database's time."""
        async with self._held(claim) as transaction:
            await append(transaction, claim.bake.id, events)

    async def ask_for_room(self, claim: BakeClaim, needs: Resources) -> None:
        """Queue the verification for admission, which reserves `needs` (`reserved` of the bake). May be repeated.

        The reservation ends with the claim, or with the bake.
        """
        async with self._held(claim) as transaction:
            asked = {**vars(needs), "room_asked_at": transaction.now}
            query = bakes.update().where(bakes.c.id == claim.bake.id, bakes.c.room_asked_at.is_(None))
            await transaction.execute(query.values(asked))
            transaction.wake(QUEUE)

    async def give_back(
        self, claim: BakeClaim, events: Sequence[NewBakeEvent], *, due_in_seconds: float, counts: bool
    ) -> None:
        """Queue the bake again, due after `due_in_seconds`. `counts`: whether the attempt counts."""
        async with self._held(claim) as transaction:
            await append(transaction, claim.bake.id, events)
            row = await _lock(transaction, claim)
            transaction.wake(BAKES, QUEUE)
            values: dict[str, Any] = {
                "phase": BakePhase.QUEUED,
                "due_at": transaction.now + timedelta(seconds=due_in_seconds),
                "attempts": row.attempts - (not counts and row.attempts > 0),
                **_NO_LEASE,
                **_NO_ROOM,
            }
            await write(transaction, claim.bake.id, values)

    async def end(
        self,
        claim: BakeClaim,
        phase: BakePhase,
        events: Sequence[NewBakeEvent],
        *,
        image: BakedImage | None = None,
        fault: Fault | None = None,
    ) -> Bake:
        """Record the end of the bake, after `events`. May be repeated by the holder."""
        async with self._held(claim) as transaction:
            if image is not None and await _is_retired(transaction, image.id):
                # An image with the same inputs exists, and is not built again.
                advice = "no new cluster may use it until it is promoted: `dayfly image promote`"
                events = [*events, NewBakeEvent("image_retired", f"image {image.id} is retired: {advice}")]
            last = NewBakeEvent(phase.value, fault.message if fault else "", code=fault.code if fault else None)
            await append(transaction, claim.bake.id, [*events, last])
            # The token stays: it tells the holder's late renewal that nobody took the lease.
            values: dict[str, Any] = {"phase": phase, "ended_at": transaction.now, "lease_expires_at": None, **_NO_ROOM}
            if image is not None:
                values |= {"image": image.reference, "image_id": image.id}
            if fault is not None:
                values |= fault_values(fault)
            transaction.wake(BAKES, QUEUE)
            return await write(transaction, claim.bake.id, values)

    @asynccontextmanager
    async def _held(self, claim: BakeClaim) -> AsyncIterator[Transaction]:
        """A transaction that holds the row of a bake that has not ended. Raises LeaseLost."""
        async with self._database.write() as transaction:
            row = await _lock(transaction, claim)
            if row.phase in ENDED:
                raise _lost(claim)
            transaction.wake(claim.bake.id)
            yield transaction


async def _lock(transaction: Transaction, claim: BakeClaim) -> Row[Any]:
    same = and_(bakes.c.id == claim.bake.id, bakes.c.lease_token == claim.token)
    row = (await transaction.execute(select(bakes).where(same).with_for_update())).one_or_none()
    if row is None:
        raise _lost(claim)
    return row


async def _is_retired(transaction: Transaction, image_id: str) -> bool:
    retired = and_(images.c.retired_at.is_not(None), images.c.collected_at.is_(None))
    query = select(images.c.id).where(images.c.id == image_id, retired)
    return (await transaction.execute(query)).first() is not None


def _lost(claim: BakeClaim) -> LeaseLost:
    return LeaseLost(f"builder {claim.owner} lost the lease on bake {claim.bake.id}")
