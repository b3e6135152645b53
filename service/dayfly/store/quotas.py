"""Quotas as operators set them, and what teams have of them. Not here: the checks of requests (quota_checks.py)."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from dayfly.domain.quota import DEFAULT, Given, Quota
from dayfly.errors import QuotaExceeded
from dayfly.store import quota_checks
from dayfly.store.db.database import StorePart
from dayfly.store.db.quota_tables import quotas
from dayfly.store.db.shared_queries import put
from dayfly.store.db.types import DatabaseNow
from dayfly.store.notify.commit_notifier import QUEUE


class Quotas(StorePart):
    async def of(self, team: str) -> Quota:
        """The team's quota: its own, and where it has none the default."""
        async with self._database.read() as connection:
            return await quota_checks.quota_of(connection, team)

    async def used(self, team: str) -> Mapping[str, int]:
        """What the team has, by the names of domain/quota.COUNTED."""
        async with self._database.read() as connection:
            return await quota_checks.used_by(connection, team)

    async def given(self) -> Mapping[str, Given]:
        """What operators gave, by team; `*`: the default."""
        rows = await self._rows(select(quotas).order_by(quotas.c.owner))
        return {row.owner: quota_checks.given_from(row) for row in rows}

    async def refused(self, error: QuotaExceeded) -> None:
        """Record for the team's webhooks that a request was refused, at most once in quota_checks.QUIET."""
        # A read first: requests beyond a quota may come often, and on SQLite one transaction writes at a time.
        async with self._database.read() as connection:
            now = (await connection.execute(select(DatabaseNow()))).scalar_one()
            if not await quota_checks.webhooks_to_tell(connection, error.team, now):
                return
        async with self._database.write() as transaction:
            await quota_checks.tell(transaction, error)

    async def set(self, given: Given, team: str = DEFAULT) -> None:
        """Replace what was given for a team, or as the default. What a team has already beyond it, it keeps."""
        async with self._database.write(caller_waits=True) as transaction:
            row = {
                "owner": team,
                "limits": dict(given.limits),
                "weight": given.weight,
                "isolation": given.isolation,
                "updated_at": transaction.now,
            }
            transaction.concerns("quota", None, None if team == DEFAULT else team)
            await put(transaction, quotas, ("owner",), [row])
            transaction.wake(QUEUE)  # the weight changes turns
