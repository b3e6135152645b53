"""Events of all clusters, in the order in which they became visible.

Not here: the events of one cluster (clusters/queries.py).
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Row, func, or_, select

from dayfly.store.clusters.queries import labelled
from dayfly.store.commands import ClusterEvent, EventFilter, EventPage
from dayfly.store.db import tables
from dayfly.store.db.database import StorePart
from dayfly.store.db.mapping import event_from
from dayfly.store.db.shared_queries import in_scope
from dayfly.store.db.tables import clusters

_EVENT: Final = tables.events.c
_NEWEST: Final = select(func.coalesce(func.max(_EVENT.id), 0))
_ALL: Final = (
    select(tables.events, clusters.c.name.label("cluster_name"), clusters.c.owner.label("cluster_owner"))
    .join_from(tables.events, clusters)
    .order_by(_EVENT.id)
)


class EventFeed(StorePart):
    async def newest(self) -> int:
        """The id of the newest event; 0: no event is on record."""
        async with self._database.read() as connection:
            return int((await connection.execute(_NEWEST)).scalar_one())

    async def page(self, which: EventFilter, *, after: int = 0, limit: int = 500) -> EventPage:
        """Up to `limit` events that match, with an id greater than `after`.

        Events become visible in the order of their ids (db/event_rows.py): what is not found up to `until` never comes.
        """
        async with self._database.read() as connection:
            # Two statements: an event that becomes visible between them has a greater id, and is in the next page.
            newest = int((await connection.execute(_NEWEST)).scalar_one())
            query = _ALL.where(_EVENT.id > after, _EVENT.id <= newest, *_conditions(which)).limit(limit)
            rows = (await connection.execute(query)).all()
        full = len(rows) == limit
        return EventPage(tuple(map(_event, rows)), rows[-1].id if full else max(after, newest), is_last=not full)


def _conditions(which: EventFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [*in_scope(clusters.c.owner, which.scope)]
    if which.clusters:
        names = sorted(which.clusters)
        found.append(or_(clusters.c.id.in_(names), clusters.c.name.in_(names)))
    if which.owner is not None:
        found.append(clusters.c.owner == which.owner)
    if which.labels:
        found.append(labelled(which.labels))
    if which.types:
        found.append(_EVENT.type.in_(sorted(which.types)))
    if which.purposes:
        found.append(clusters.c.purpose.in_(sorted(which.purposes)))
    return found


def _event(row: Row[Any]) -> ClusterEvent:
    return ClusterEvent(event_from(row), row.cluster_id, row.cluster_name, row.cluster_owner)
