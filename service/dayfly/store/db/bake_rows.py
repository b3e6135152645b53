"""Maps rows of bakes to domain values and back; the statements that both parts of the store use. Not here: queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import Row, delete, insert, select, update

from dayfly.domain.bake import LINE, Bake, BakedImage, BakeEvent, BakeOrder, NewBakeEvent
from dayfly.domain.cluster.model import Fault
from dayfly.store.db.database import Transaction
from dayfly.store.db.mapping import plain, storable_tail
from dayfly.store.db.tables import bake_events, bakes
from dayfly.vocabulary import BakePhase

MOST_LINES: Final = 2000
"""Of the output of one bake; the newest stay. Events that are no lines are few: some for each step and attempt."""
EVIDENCE_BYTES: Final = 16 * 1024
"""Of one text of a failure; its end is stored, which has the reason."""
_MOST_TEXTS: Final = 16
_NAME_CHARACTERS: Final = 100


def bake_from(row: Row[Any]) -> Bake:
    fault = None if row.fault is None else Fault(**row.fault, evidence=row.evidence or {})
    return Bake(
        id=row.id,
        owner=row.owner,
        order=_order(row),
        phase=BakePhase(row.phase),
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        cancel_requested_at=row.cancel_requested_at,
        attempts=row.attempts,
        image=None if row.image is None else BakedImage(row.image, row.image_id),
        fault=fault,
        reserved=row.reserved,
    )


_OPTIONS: Final = ("conformance", "state", "promote")
"""Fields of an order in the column `options`, where they are set."""


def order_values(order: BakeOrder) -> dict[str, Any]:
    """The columns of an order."""
    unset = BakeOrder(order.recipe)
    options = {name: getattr(order, name) for name in _OPTIONS if getattr(order, name) != getattr(unset, name)}
    return {
        "recipe": order.recipe,
        "variables": dict(order.variables),
        "definition": None if order.definition is None else dict(order.definition),
        "options": options or None,
    }


def _order(row: Row[Any]) -> BakeOrder:
    options = {name: one for name, one in (row.options or {}).items() if name in _OPTIONS}
    if "conformance" in options:
        options["conformance"] = tuple(map(str, options["conformance"]))
    return BakeOrder(row.recipe, row.variables, row.definition, **options)


def bake_event_from(row: Row[Any]) -> BakeEvent:
    columns = row._asdict()
    del columns["bake_id"]
    return BakeEvent(**columns)


def fault_values(fault: Fault) -> Mapping[str, Any]:
    """The columns of the reason of a failure, bounded and without characters that no database stores."""
    texts = sorted(fault.evidence.items())[:_MOST_TEXTS]
    return {
        "fault": {"code": fault.code, "message": plain(fault.message)},
        "evidence": {plain(name)[:_NAME_CHARACTERS]: storable_tail(text, EVIDENCE_BYTES) for name, text in texts},
    }


async def append(transaction: Transaction, bake_id: str, events: Iterable[NewBakeEvent]) -> None:
    """Add events at the transaction's time, and remove the oldest lines beyond MOST_LINES.

    The caller has locked the bake's row, which keeps its events in order.
    """
    same = {"bake_id": bake_id, "at": transaction.now}
    rows = [
        {**same, **vars(event), "message": plain(event.message), "step": event.step and plain(event.step)[:64]}
        for event in events
    ]
    if not rows:
        return
    await transaction.execute(insert(bake_events), rows)
    if any(row["type"] == LINE for row in rows):
        lines = (bake_events.c.bake_id == bake_id, bake_events.c.type == LINE)
        kept = select(bake_events.c.id).where(*lines).order_by(bake_events.c.id.desc()).limit(1).offset(MOST_LINES - 1)
        await transaction.execute(delete(bake_events).where(*lines, bake_events.c.id < kept.scalar_subquery()))


async def write(transaction: Transaction, bake_id: str, values: Mapping[str, Any]) -> Bake:
    """Update the row of one bake, and notify those who watch the bake."""
    transaction.wake(bake_id)
    changed = update(bakes).where(bakes.c.id == bake_id).values(dict(values)).returning(bakes)
    return bake_from((await transaction.execute(changed)).one())
