"""Which clusters, templates and pools use which image, and how clusters of an image ended. Not here: the catalog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, case, func, or_, select

from dayfly.domain.image_catalog import ImageOutcomes, is_fixed
from dayfly.store.db import tables
from dayfly.store.db.database import StorePart
from dayfly.store.db.tables import clusters, pools, templates
from dayfly.store.db.types import DatabaseNow
from dayfly.vocabulary import TemplatePhase

_NO_USE: Final = (TemplatePhase.FAILED, TemplatePhase.RETIRED)


class ImageUses(StorePart):
    async def ids(self) -> frozenset[str]:
        """The images that clusters, templates, and pools with a fixed reference use."""
        of_pools = {
            image for reference, image in await self.of_pools() if reference is not None and is_fixed(reference)
        }
        return frozenset({*await self.of_clusters(), *await self.of_templates(), *of_pools} - {None})

    async def of_clusters(self) -> Mapping[str, int]:
        """Image id → clusters of it that are not deleted, those of templates and pools included."""
        image = clusters.c.spec["image_id"].as_string()
        return await self._counts(select(image.label("image"), func.count().label("number")).where(tables.LIVING))

    async def of_templates(self) -> Mapping[str, int]:
        """Image id → templates that have a snapshot of it, or are to get one."""
        image = templates.c.spec["image_id"].as_string()
        query = select(image.label("image"), func.count().label("number"))
        return await self._counts(query.where(tables.RECORDED, templates.c.phase.not_in(_NO_USE)))

    async def of_pools(self) -> Mapping[tuple[str, str], int]:
        """(the reference that was requested, the id of its image then) → pools."""
        spec = pools.c.spec
        query = select(spec["image"].as_string().label("reference"), spec["image_id"].as_string().label("image"))
        return Counter((row.reference, row.image) for row in await self._rows(query))

    async def outcomes(self, seconds: float) -> Mapping[str, ImageOutcomes]:
        """Image id → how the clusters that were created in the last `seconds` and are on record went."""
        columns = clusters.c
        ready, failed = columns.ready_at.is_not(None), columns.failed_at.is_not(None)
        image = columns.spec["image_id"].as_string().label("image")
        query = select(
            image,
            _number_of(ready).label("ready"),
            _number_of(failed).label("failed"),
            _number_of(or_(ready, failed)).label("ended"),
        )
        async with self._database.read() as connection:
            now = (await connection.execute(select(DatabaseNow()))).scalar_one()
            recent = columns.created_at > now - timedelta(seconds=seconds)
            rows = await connection.execute(query.where(recent).group_by(image))
            return {row.image: ImageOutcomes(int(row.ready), int(row.failed), int(row.ended)) for row in rows}

    async def _counts(self, query: Select[Any]) -> Mapping[str, int]:
        rows = await self._rows(query.group_by("image"))
        return {row.image: int(row.number) for row in rows}


def _number_of(which: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((which, 1), else_=0))
