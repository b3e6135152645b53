"""Checks of a team's quotas, in the transaction that takes more of them: requests at once exceed no limit together.

Not here: the rules (domain/quota.py), and the quotas as operators set them (quotas.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Executable,
    Row,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from dayfly.domain import quota as rules
from dayfly.domain.checkpoint import CheckpointPhase
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.pool import Pool
from dayfly.domain.quota import DEFAULT, Given, Quota
from dayfly.domain.scheduling.resources import Resources, demand
from dayfly.domain.webhook import quota_message
from dayfly.errors import QuotaExceeded
from dayfly.store.create_locks import lock_quota
from dayfly.store.db import tables
from dayfly.store.db.database import Transaction
from dayfly.store.db.mapping import pool_from
from dayfly.store.db.quota_tables import quotas
from dayfly.store.db.shared_queries import owner_expression
from dayfly.store.db.tables import checkpoints, clusters, pools, templates
from dayfly.store.db.webhook_messages import delivery_row, new_message_id
from dayfly.store.db.webhook_tables import webhook_deliveries, webhooks
from dayfly.store.notify.commit_notifier import WEBHOOKS
from dayfly.vocabulary import TemplatePhase, WebhookEvent

QUIET: Final = timedelta(minutes=10)
"""A webhook is called for a refused request at most once in this time: a caller may repeat the request at once."""

_MOST_NAMES: Final = 3
_MIB, _GIB = 1 << 20, 1 << 30
_COLUMNS: Final = clusters.c
_UNADMITTED: Final = and_(_COLUMNS.phase == Phase.PENDING, _COLUMNS.admitted_at.is_(None))
_OCCUPIES: Final = or_(_COLUMNS.reserved, _UNADMITTED)
"""Of living clusters: one that failed and was removed occupies nothing."""
_CREATING: Final = and_(
    _COLUMNS.phase.in_([Phase.PENDING, Phase.PROVISIONING]),
    _COLUMNS.ready_at.is_(None),
    _COLUMNS.desired == Desired.PRESENT,
)
# Built once: each request for a cluster executes it.
_GIVEN: Final = select(quotas).where(quotas.c.owner.in_([bindparam("team"), DEFAULT]))
_UNSAVED: Final = (TemplatePhase.BUILDING, TemplatePhase.VERIFYING)


def callers_clusters(team: str) -> tuple[ColumnElement[bool], ...]:
    # By the index of living clusters, and not by that of all clusters that the team ever had.
    return tables.LIVING, *_of_callers(team)


def _of_callers(team: str) -> tuple[ColumnElement[bool], ...]:
    return owner_expression() == team, _COLUMNS.purpose == Purpose.CLUSTER


async def quota_of(connection: AsyncConnection, team: str) -> Quota:
    rows = (await connection.execute(_GIVEN, {"team": team})).all()
    given = {row.owner: given_from(row) for row in rows}
    return rules.quota_of(given.get(team), given.get(DEFAULT))


def given_from(row: Row[Any]) -> Given:
    return Given(rules.limits_from(row.limits), row.weight, row.isolation)


async def require(transaction: Transaction, team: str, wanted: Mapping[str, int]) -> Quota:
    """The team's quota. Raises QuotaExceeded if `wanted` (domain/quota.COUNTED → amount) is more than is left of it.

    What is counted is locked until the transaction ends. Call it after the locks on a key and a name.
    """
    quota = await quota_of(transaction.connection, team)
    if not any(quota.limits.get(name) is not None for name in wanted):
        return quota
    await lock_quota(transaction, team)
    used = await used_by(transaction.connection, team)
    name = rules.first_exceeded(quota, used, wanted)
    if name is not None:
        largest = await _largest(transaction.connection, team, name)
        raise rules.exceeded(team, name, int(quota.limits[name] or 0), used[name], wanted[name], largest)
    return quota


def cluster_wants(needs: Resources) -> dict[str, int]:
    """What a new cluster takes."""
    return {"clusters": 1, "creating": 1, **vars(needs)}


def saved_wants(spec: ClusterSpec, **more: int) -> dict[str, int]:
    """What a template or checkpoint of a cluster takes: its size is not known before, and at most about its memory."""
    return {"saved_gib": math.ceil(demand(spec).memory_mib / 1024), **more}


def pool_peak(pool: Pool) -> int:
    """The most members that a pool may have."""
    return min(pool.maximum, max([pool.size, *(period.size for period in pool.schedule)]))


async def used_by(connection: AsyncConnection, team: str) -> dict[str, int]:
    """What a team has, by the names of domain/quota.COUNTED."""
    row = (await connection.execute(_of_clusters(team))).one()
    found = {name: int(getattr(row, name) or 0) for name in ("clusters", "creating", *vars(Resources()))}
    # A cluster that is to be resumed takes what it needs from its request on.
    resuming = (_COLUMNS.phase == Phase.HIBERNATED, _COLUMNS.desired == Desired.PRESENT)
    specs = (await connection.execute(select(_COLUMNS.spec).where(*callers_clusters(team), *resuming))).scalars()
    for needs in map(demand, map(ClusterSpec.model_validate, specs)):
        found["vcpus"] += needs.vcpus
        found["memory_mib"] += needs.memory_mib
    count = select(func.count()).select_from(templates).where(*_of_templates(team))
    found["templates"] = (await connection.execute(count)).scalar_one()
    rows = (await connection.execute(select(pools).where(pools.c.owner == team))).all()
    found["pool_members"] = sum(pool_peak(pool_from(row)) for row in rows)
    saved = [(await connection.execute(query)).scalar() or 0 for query in (_saved(team), _checkpointed(team))]
    found["saved_gib"] = math.ceil(sum(saved) / _GIB)
    return found


async def tell(transaction: Transaction, error: QuotaExceeded) -> None:
    """Have the team's webhooks called for a refused request, whose transaction was rolled back."""
    # Locked before the look at what was sent: refusals at the same time call a webhook once.
    of_team = select(webhooks.c.id).where(webhooks.c.owner == error.team).order_by(webhooks.c.id)
    await transaction.execute(of_team.with_for_update(key_share=True))
    to_call = await webhooks_to_tell(transaction.connection, error.team, transaction.now)
    message_id = new_message_id()
    body = quota_message(transaction.now, error.team, error.quota, error.limit, error.used, error.wanted)
    deliveries = [delivery_row(one, message_id, WebhookEvent.QUOTA, body, transaction.now) for one in to_call]
    if deliveries:
        await transaction.execute(insert(webhook_deliveries), deliveries)
        transaction.wake(WEBHOOKS)


async def webhooks_to_tell(connection: AsyncConnection, team: str, now: datetime) -> list[str]:
    """The ids of the team's webhooks that are called for a refused request now, and were not within QUIET."""
    recent = (
        webhook_deliveries.c.webhook_id == webhooks.c.id,
        webhook_deliveries.c.created_at > now - QUIET,
        webhook_deliveries.c.type == WebhookEvent.QUOTA,
    )
    query = select(webhooks.c.id, webhooks.c.events).where(
        webhooks.c.owner == team, webhooks.c.enabled, ~exists().where(*recent)
    )
    return [row.id for row in (await connection.execute(query)).all() if WebhookEvent.QUOTA in row.events]


def _of_clusters(team: str) -> Executable:
    amounts = (func.sum(case((_OCCUPIES, _COLUMNS[name]), else_=0)).label(name) for name in vars(Resources()))
    creating = func.sum(case((_CREATING, 1), else_=0)).label("creating")
    return select(func.count().label("clusters"), creating, *amounts).where(*callers_clusters(team))


def _of_templates(team: str) -> tuple[ColumnElement[bool], ...]:
    columns = templates.c
    return columns.owner == team, columns.phase.not_in([TemplatePhase.FAILED, TemplatePhase.RETIRED])


def _saved(team: str) -> Select[Any]:
    """Bytes of a team's templates; of those that are not saved yet, their builders' memory."""
    memory = func.coalesce(_COLUMNS.memory_mib, 0) * literal(_MIB, clusters.c.traffic.type)
    size = case((templates.c.phase.in_(_UNSAVED), memory), else_=templates.c.size_bytes)
    joined = select(func.sum(size)).select_from(templates).outerjoin(clusters, _COLUMNS.id == templates.c.builder)
    return joined.where(*_of_templates(team))


def _checkpointed(team: str) -> Select[Any]:
    memory = _COLUMNS.memory_mib * literal(_MIB, clusters.c.traffic.type)
    size = case((checkpoints.c.phase == CheckpointPhase.CREATING, memory), else_=checkpoints.c.size_bytes)
    return select(func.sum(size)).join_from(checkpoints, clusters).where(*_with_checkpoints(team))


def _with_checkpoints(team: str) -> tuple[ColumnElement[bool], ...]:
    # Not tables.LIVING: checkpoints have a phase as well.
    return _COLUMNS.phase != Phase.DELETED, *_of_callers(team)


async def _largest(connection: AsyncConnection, team: str, name: str) -> tuple[tuple[str, int], ...]:
    """The names of what takes most of a quota, with their amounts."""
    if name == "pool_members":
        rows = (await connection.execute(select(pools).where(pools.c.owner == team))).all()
        peaks = sorted(((pool.name, pool_peak(pool)) for pool in map(pool_from, rows)), key=lambda one: -one[1])
        return tuple(peaks[:_MOST_NAMES])
    if name == "templates":
        query = select(templates.c.id, literal(1)).where(*_of_templates(team)).order_by(templates.c.created_at)
    elif name == "saved_gib":
        size = func.sum(checkpoints.c.size_bytes)
        query = select(_COLUMNS.name, size / _GIB).join_from(checkpoints, clusters).where(*_with_checkpoints(team))
        query = query.group_by(_COLUMNS.name).order_by(size.desc())
    elif name in vars(Resources()):
        amount = _COLUMNS[name]
        query = select(_COLUMNS.name, amount).where(*callers_clusters(team), _OCCUPIES).order_by(amount.desc())
    else:
        which = (_CREATING,) if name == "creating" else ()
        query = select(_COLUMNS.name, literal(1)).where(*callers_clusters(team), *which).order_by(_COLUMNS.created_at)
    found = (await connection.execute(query.limit(_MOST_NAMES))).all()
    return tuple((str(one), math.ceil(amount)) for one, amount in found)
