"""Statistics for metrics and estimates: clusters by phase, durations of recent provisioning."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import and_, case, func, select

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.security.principal import EVERYWHERE, Scope
from dayfly.store.commands import MEMBER_STATES, Usage
from dayfly.store.db import tables
from dayfly.store.db.database import StorePart
from dayfly.store.db.shared_queries import in_scope, owner_expression
from dayfly.store.db.tables import clusters, pools, templates
from dayfly.store.db.types import DatabaseNow, UtcDateTime
from dayfly.vocabulary import TemplatePhase


class Statistics(StorePart):
    async def count_members(self) -> Mapping[tuple[str, str], int]:
        """(pool's id, state) → members. Every pool has all of MEMBER_STATES."""
        columns = clusters.c
        state = case(
            (columns.desired == Desired.ABSENT, "deleting"),
            (columns.phase == Phase.FAILED, "failed"),
            ((columns.phase == Phase.READY) & columns.paused, "ready"),
            else_="provisioning",
        ).label("state")
        members = (
            select(columns.pool_id, state, func.count().label("number"))
            .where(tables.OF_POOLS, columns.purpose == Purpose.POOL_MEMBER)
            .group_by(columns.pool_id, state)
        )
        async with self._database.read() as connection:
            ids = set((await connection.execute(select(pools.c.id))).scalars())
            found = (await connection.execute(members)).all()
        none = {(pool_id, state): 0 for pool_id in ids for state in MEMBER_STATES}
        return none | {(row.pool_id, row.state): row.number for row in found if row.pool_id in ids}

    async def usage(self) -> tuple[Usage, ...]:
        """The numbers of clusters that are not deleted, by owner, purpose and phase."""
        columns = clusters.c
        grouped = (owner_expression(), columns.purpose, columns.phase)
        queued = case((tables.QUEUED, 1), else_=0)
        since = func.min(case((tables.QUEUED, columns.created_at)), type_=UtcDateTime()).label("since")
        query = select(*grouped, func.count().label("number"), func.sum(queued).label("waiting"), since)
        return tuple(
            Usage(row.owner, Purpose(row.purpose), Phase(row.phase), row.number, int(row.waiting), row.since)
            for row in await self._rows(query.where(tables.LIVING).group_by(*grouped).order_by(*grouped))
        )

    async def count_templates(self, scope: Scope = EVERYWHERE) -> Mapping[TemplatePhase, int]:
        """How many templates there are in `scope`, in each phase but `retired`."""
        visible = in_scope(templates.c.owner, scope)
        query = select(templates.c.phase, func.count().label("number")).where(tables.RECORDED, *visible)
        rows = await self._rows(query.group_by(templates.c.phase))
        present = {TemplatePhase(row.phase): int(row.number) for row in rows}
        return {phase: present.get(phase, 0) for phase in TemplatePhase if phase is not TemplatePhase.RETIRED}

    async def count_leases(self) -> tuple[int, int]:
        """(valid leases, expired leases that no worker has taken over yet)."""
        valid = func.sum(case((clusters.c.lease_expires_at > DatabaseNow(), 1), else_=0))
        query = select(func.count(), func.coalesce(valid, 0)).select_from(clusters).where(tables.LEASED)
        async with self._database.read() as connection:
            every, held = (await connection.execute(query)).one()
        return int(held), int(every - held)

    async def count_forks(self) -> int:
        """The number of living forks: callers' clusters, pool members and template verifications."""
        columns = clusters.c
        query = select(func.count()).where(tables.OF_TEMPLATES, columns.purpose != Purpose.TEMPLATE)
        async with self._database.read() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def cold_shapes(self, seconds: float, limit: int) -> tuple[tuple[ClusterSpec, str, datetime], ...]:
        """(spec, owner, ready at) of callers' clusters that became ready without a template in the last `seconds`.

        The latest cluster of each shape and owner, at most `limit`, the latest first. Clusters with strict isolation
        are left out: no template could serve them.
        """
        columns = clusters.c
        async with self._database.read() as connection:
            now = (await connection.execute(select(DatabaseNow()))).scalar_one()
            cold = and_(
                tables.LIVING,
                columns.purpose == Purpose.CLUSTER,
                columns.template_id.is_(None),
                columns.shape.is_not(None),
                columns.spec["isolation"].as_string() == "shared",
                columns.ready_at > now - timedelta(seconds=seconds),
            )
            last = func.max(columns.ready_at, type_=UtcDateTime()).label("last")
            shapes = select(columns.shape, columns.owner, last).where(cold).group_by(columns.shape, columns.owner)
            latest = shapes.order_by(last.desc()).limit(limit).subquery()
            same = and_(
                columns.shape == latest.c.shape,
                columns.owner == latest.c.owner,
                columns.ready_at == latest.c.last,
            )
            query = select(columns.spec, columns.owner, columns.shape, columns.ready_at).join(latest, same).where(cold)
            rows = (await connection.execute(query.order_by(columns.ready_at.desc()))).all()
        # Two clusters of a shape may have the same `ready_at`.
        latest_rows = {(row.shape, row.owner): row for row in rows}
        return tuple((ClusterSpec.model_validate(row.spec), row.owner, row.ready_at) for row in latest_rows.values())
