"""Teams: created, listed, described and deleted. Not here: their tokens (tokens.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Row, Table, delete, insert, literal, select, union, update
from sqlalchemy.exc import IntegrityError

from dayfly.domain.security.principal import DEFAULT_TEAM, EVERYWHERE, Scope
from dayfly.domain.security.team import Team
from dayfly.errors import Conflict, NameTaken, NotFound
from dayfly.store.commands import IdempotencyKey
from dayfly.store.create_locks import lock_operators
from dayfly.store.db import ids, tables
from dayfly.store.db.access_tables import teams, tokens
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.quota_tables import quotas
from dayfly.store.db.shared_queries import in_scope
from dayfly.store.db.tables import bakes, clusters, pools, templates
from dayfly.store.db.webhook_tables import webhooks
from dayfly.store.idempotency_keys import record_use, require_new
from dayfly.store.notify.commit_notifier import TOKENS
from dayfly.vocabulary import TemplatePhase

_OWNING: tuple[tuple[str, Table, tuple[Any, ...]], ...] = (
    ("clusters", clusters, (tables.LIVING,)),
    ("pools", pools, ()),
    ("templates", templates, (templates.c.phase != TemplatePhase.RETIRED,)),
    ("bakes", bakes, (tables.UNENDED,)),
)
"""What keeps a team from being deleted."""


class Teams(StorePart):
    async def create(self, name: str, description: str, key: IdempotencyKey | None = None) -> Team:
        """Raises NameTaken, CarriedOut, IdempotencyKeyReused."""
        try:
            async with self._database.write(caller_waits=True) as transaction:
                await require_new(transaction, key)
                made = Team(ids.new_id(), name, description, transaction.now)
                await transaction.execute(insert(teams).values(vars(made)))
                transaction.concerns("team", made.id, name)
                await record_use(transaction, key, resource_id=made.id)
                return made
        except IntegrityError as error:
            raise NameTaken(f"a team named {name} exists") from error

    async def list(self, scope: Scope = EVERYWHERE) -> tuple[Team, ...]:
        """By name."""
        rows = await self._rows(select(teams).where(*in_scope(teams.c.name, scope)).order_by(teams.c.name))
        return tuple(map(_team_from, rows))

    async def get(self, id_or_name: str, scope: Scope = EVERYWHERE) -> Team:
        """Raises NotFound."""
        which = (teams.c.id == id_or_name) | (teams.c.name == id_or_name)
        # An id of one team may be the name of another: the name goes before.
        rows = await self._rows(select(teams).where(which, *in_scope(teams.c.name, scope)))
        if not rows:
            raise NotFound(f"no team {id_or_name}")
        return _team_from(next((row for row in rows if row.name == id_or_name), rows[0]))

    async def named(self, name: str) -> Team:
        """The team with this name: an id is none. Raises NotFound."""
        row = await self._row(select(teams).where(teams.c.name == name))
        if row is None:
            raise NotFound(f"no team {name}")
        return _team_from(row)

    async def describe(self, name: str, description: str, require: Callable[[Team], None] = lambda _: None) -> Team:
        """Change the description. `require` gets the team before, and raises an error to reject it. Raises NotFound."""
        async with self._database.write(caller_waits=True) as transaction:
            require(await _lock(transaction, name))
            changed = update(teams).where(teams.c.name == name).values(description=description).returning(teams)
            return _team_from((await transaction.execute(changed)).one())

    async def delete(self, name: str) -> Team:
        """Delete a team that has nothing any more, with its tokens, webhooks and quota. Raises NotFound, Conflict."""
        if name == DEFAULT_TEAM:
            raise Conflict(f"team {DEFAULT_TEAM} cannot be deleted")
        async with self._database.write(caller_waits=True) as transaction:
            team = await _lock(transaction, name)
            for kind, table, present in _OWNING:
                owned = select(table.c.id).where(table.c.owner == name, *present).limit(1)
                if (await transaction.execute(owned)).first():
                    raise Conflict(f"team {name} has {kind}: delete them first")
            await transaction.execute(delete(tokens).where(tokens.c.team == name))
            # Otherwise another team that gets the name has its events sent to the addresses of this one.
            await transaction.execute(delete(webhooks).where(webhooks.c.owner == name))
            await transaction.execute(delete(quotas).where(quotas.c.owner == name))
            await transaction.execute(delete(teams).where(teams.c.name == name))
            transaction.wake(TOKENS)
            return team

    async def adopt(self) -> tuple[str, ...]:
        """Make a team of each owner on record that is none; their names.

        Releases before 0.3.0 accept any owner.
        """
        owners = union(select(literal(DEFAULT_TEAM)), *(select(table.c.owner) for _, table, _ in _OWNING))
        async with self._database.write() as transaction:
            await lock_operators(transaction)  # processes that start at once take turns
            known = set((await transaction.execute(select(teams.c.name))).scalars())
            missing = sorted(set((await transaction.execute(owners)).scalars()) - known)
            for name in missing:
                await transaction.execute(insert(teams).values(vars(Team(ids.new_id(), name, "", transaction.now))))
            return tuple(missing)


async def _lock(transaction: Transaction, name: str) -> Team:
    """The team, for a request that changes it. Raises NotFound."""
    row = (await transaction.execute(select(teams).where(teams.c.name == name).with_for_update())).one_or_none()
    if row is None:
        raise NotFound(f"no team {name}")
    transaction.concerns("team", row.id, name)
    return _team_from(row)


def _team_from(row: Row[Any]) -> Team:
    return Team(**row._asdict())
