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
from dayfly.errors import LeaseLost
from dayfly.store.commands import BakeClaim
from dayfly.store.create_locks import lock_bakes
from dayfly.store.db import tables
from dayfly.store.db.bake_rows import append, bake_from, fault_values, write
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.tables import bakes
from dayfly.store.notify.commit_notifier import BAKES
from dayfly.vocabulary import BakePhase

_LONGEST: Final = 10
"""A lease that ends later than so many leases from now is impossible: the database's clock was set back."""
_NO_LEASE: Final = {"lease_owner": None, "lease_token": None, "lease_expires_at": None, "lease_host": None}


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
            }
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

    async def give_back(
        self, claim: BakeClaim, events: Sequence[NewBakeEvent], *, due_in_seconds: float, counts: bool
    ) -> None:
        """Queue the bake again, due after `due_in_seconds`. `counts`: whether the attempt counts."""
        async with self._held(claim) as transaction:
            await append(transaction, claim.bake.id, events)
            row = await _lock(transaction, claim)
            transaction.wake(BAKES)
            values: dict[str, Any] = {
                "phase": BakePhase.QUEUED,
                "due_at": transaction.now + timedelta(seconds=due_in_seconds),
                "attempts": row.attempts - (not counts and row.attempts > 0),
                **_NO_LEASE,
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
            last = NewBakeEvent(phase.value, fault.message if fault else "", code=fault.code if fault else None)
            await append(transaction, claim.bake.id, [*events, last])
            # The token stays: it tells the holder's late renewal that nobody took the lease.
            values: dict[str, Any] = {"phase": phase, "ended_at": transaction.now, "lease_expires_at": None}
            if image is not None:
                values |= {"image": image.reference, "image_id": image.id}
            if fault is not None:
                values |= fault_values(fault)
            transaction.wake(BAKES)
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


def _lost(claim: BakeClaim) -> LeaseLost:
    return LeaseLost(f"builder {claim.owner} lost the lease on bake {claim.bake.id}")
