"""Scheduled rebuilds: when a recipe is looked at next, and the bakes that follow. Not here: what news is."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select, update

from dayfly.domain.bake import Bake, BakeOrder
from dayfly.store.bakes import insert_bake
from dayfly.store.create_locks import lock_bakes
from dayfly.store.db import tables
from dayfly.store.db.database import StorePart
from dayfly.store.db.shared_queries import put
from dayfly.store.db.tables import bakes, rebuild_checks


class Rebuilds(StorePart):
    async def begin_check(self, recipe: str, interval_seconds: float) -> bool:
        """Whether it is time to look at the recipe; then the next time is after the interval, for all builders."""
        async with self._database.write() as transaction:
            await lock_bakes(transaction)
            query = select(rebuild_checks.c.due_at).where(rebuild_checks.c.recipe == recipe)
            due_at = (await transaction.execute(query)).scalar_one_or_none()
            interval = timedelta(seconds=interval_seconds)
            # A much later time than that is of another setting, or of a clock that was set back.
            if due_at is not None and transaction.now < due_at <= transaction.now + 2 * interval:
                return False
            row = {"recipe": recipe, "due_at": transaction.now + interval}
            await put(transaction, rebuild_checks, ("recipe",), [row])
            return True

    async def repeat_check(self, recipe: str, after_seconds: float) -> None:
        """The look failed: the next one is so much later."""
        async with self._database.write() as transaction:
            due_at = transaction.now + timedelta(seconds=after_seconds)
            same = rebuild_checks.c.recipe == recipe
            await transaction.execute(update(rebuild_checks).where(same).values(due_at=due_at))

    async def create(self, order: BakeOrder, owner: str, news: str) -> Bake | None:
        """Queue a rebuild, with `news` in its first event; None: one of the recipe is queued or runs.

        Raises BakeQueueFull.
        """
        async with self._database.write() as transaction:
            await lock_bakes(transaction)
            same = select(bakes.c.options).where(tables.UNENDED, bakes.c.recipe == order.recipe)
            if any((options or {}).get("state") for options in (await transaction.execute(same)).scalars()):
                return None
            return await insert_bake(transaction, order, owner, news)
