"""The catalog of node images: promotions, rollbacks and retirements of names' images, and their removal.

Every change locks the whole catalog: changes are rare, and one may concern several names. Not here: which clusters use
an image (image_use.py); what is on the engine (controllers/).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, delete, func, insert, select, update

from dayfly.domain.image import ImageManifest
from dayfly.domain.image_catalog import (
    EngineImage,
    ImageChange,
    ImageRecord,
    by_name,
    is_fixed,
    obsolete_changes,
    promoted_line,
    rollback_target,
)
from dayfly.errors import Conflict
from dayfly.store.commands import IdempotencyKey
from dayfly.store.db import tables
from dayfly.store.db.database import StorePart, Transaction
from dayfly.store.db.shared_queries import put
from dayfly.store.db.tables import clusters, image_changes, images, pools, templates
from dayfly.store.db.types import DatabaseNow
from dayfly.store.idempotency_keys import record_use, require_new
from dayfly.store.notify.commit_notifier import QUEUE
from dayfly.vocabulary import ImageEvent, ImageState, TemplatePhase

_LOCK: Final = 0x6466_6901
"""First key of a PostgreSQL advisory lock with two keys, as those of create_locks.py."""
_CHANGES: Final = select(image_changes).order_by(image_changes.c.id)
_USING: Final = (TemplatePhase.BUILDING, TemplatePhase.VERIFYING, TemplatePhase.READY, TemplatePhase.RETIRING)


class ImageCatalog(StorePart):
    async def changes(self, name: str | None = None) -> tuple[ImageChange, ...]:
        """The history of a name (None: of all), oldest first."""
        query = _CHANGES if name is None else _CHANGES.where(image_changes.c.name == name)
        return tuple(map(_change_from, await self._rows(query)))

    async def records(self) -> tuple[ImageRecord, ...]:
        """All images that were ever promoted or retired, the newest first."""
        query = select(images).order_by(images.c.created_at.desc(), images.c.id)
        return tuple(map(_record_from, await self._rows(query)))

    async def records_of(self, image_ids: Collection[str]) -> Mapping[str, ImageRecord]:
        """By id. An image that was never promoted or retired has none."""
        rows = await self._rows(select(images).where(images.c.id.in_(sorted(image_ids)))) if image_ids else ()
        return {row.id: _record_from(row) for row in rows}

    async def is_retired(self, image_id: str) -> bool:
        row = await self._row(select(images).where(images.c.id == image_id))
        return row is not None and _record_from(row).state is ImageState.RETIRED

    async def promote(self, name: str, image: EngineImage, key: IdempotencyKey | None = None) -> bool:
        """Let the name stand for the image, which is on the engine; whether that is new. A retired one is so no more.

        Raises Conflict while the image is being removed; CarriedOut, IdempotencyKeyReused.
        """
        async with self._database.write(caller_waits=True) as transaction:
            await require_new(transaction, key)
            transaction.concerns("image", image.id, name)
            await _lock(transaction)
            record = await _record(transaction, image.id)
            if record is not None and record.removing_at is not None and record.collected_at is None:
                raise Conflict(f"image {image.id} is being removed: bake or pull it again")
            await _put_record(transaction, name, image, record)
            line = promoted_line(await _changes(transaction, name))
            moved = not line or line[0].image_id != image.id
            if moved:
                former = line[0].id if line else None
                await _append(transaction, name, image.id, ImageEvent.PROMOTED, former)
            await record_use(transaction, key, resource_id="image")
            return moved

    async def rollback(self, name: str, present: Collection[str], key: IdempotencyKey | None = None) -> None:
        """Let the name stand for the image that was promoted before. `present`: the ids on the engine.

        Raises Conflict where there is none; CarriedOut, IdempotencyKeyReused.
        """
        async with self._database.write(caller_waits=True) as transaction:
            await require_new(transaction, key)
            transaction.concerns("image", None, name)
            await _lock(transaction)
            line = promoted_line(await _changes(transaction, name))
            rows = (await transaction.execute(select(images))).all()
            retired = {one.id for one in map(_record_from, rows) if one.state is ImageState.RETIRED}
            target = rollback_target(line, present, retired)
            if target is None:
                why = "nothing was promoted before" if len(line) < 2 else "what was promoted before is retired or gone"
                raise Conflict(f"{name} cannot be rolled back: {why if line else 'nothing was ever promoted'}")
            await _append(transaction, name, target.image_id, ImageEvent.ROLLED_BACK, target.former)
            await record_use(transaction, key, resource_id="image")

    async def retire(
        self, name: str, image: EngineImage, latest_of: Collection[str] = (), key: IdempotencyKey | None = None
    ) -> None:
        """Let no new cluster use the image. May be repeated. `latest_of`: the names whose tag `latest` it has.

        Raises Conflict while a name stands for the image; CarriedOut, IdempotencyKeyReused.
        """
        async with self._database.write(caller_waits=True) as transaction:
            await require_new(transaction, key)
            transaction.concerns("image", image.id, name)
            await _lock(transaction)
            lines = {of: promoted_line(some) for of, some in by_name(await _changes(transaction)).items()}
            standing = {of for of, line in lines.items() if line and line[0].image_id == image.id}
            standing |= {of for of in latest_of if not lines.get(of)}
            if standing:
                names = ", ".join(sorted(standing))
                raise Conflict(f"{names} stands for image {image.id}: promote another image first")
            record = await _record(transaction, image.id)
            if record is None or record.state is not ImageState.RETIRED:
                await _put_record(transaction, name, image, record, retired_at=transaction.now)
                await _append(transaction, name, image.id, ImageEvent.RETIRED)
            await record_use(transaction, key, resource_id="image")

    async def due_for_removal(self, retired_seconds: float) -> tuple[ImageRecord, ...]:
        """Images that have been retired for so long, and are not collected."""
        async with self._database.read() as connection:
            now = (await connection.execute(select(DatabaseNow()))).scalar_one()
            before = images.c.retired_at <= now - timedelta(seconds=retired_seconds)
            rows = await connection.execute(select(images).where(images.c.collected_at.is_(None), before))
            return tuple(map(_record_from, rows.all()))

    async def begin_removal(self, image_id: str) -> bool:
        """Whether the image may be removed now: it is retired, and no cluster, template or pool uses it.

        From then on it cannot be promoted, until keep() or removed(). May be repeated.
        """
        async with self._database.write() as transaction:
            await _lock(transaction)
            record = await _record(transaction, image_id)
            if record is None or record.state is not ImageState.RETIRED or await _is_used(transaction, image_id):
                return False
            began = update(images).where(images.c.id == image_id).values(removing_at=transaction.now)
            await transaction.execute(began)
            return True

    async def keep(self, image_id: str) -> None:
        """The image could not be removed: it stays retired."""
        async with self._database.write() as transaction:
            kept = update(images).where(images.c.id == image_id, images.c.collected_at.is_(None))
            await transaction.execute(kept.values(removing_at=None))

    async def removed(self, image_id: str) -> bool:
        """Record that the image is not on the engine any more; whether that is new."""
        async with self._database.write() as transaction:
            await _lock(transaction)
            record = await _record(transaction, image_id)
            if record is None or record.removing_at is None or record.collected_at is not None:
                return False
            gone = update(images).where(images.c.id == image_id).values(collected_at=transaction.now)
            await transaction.execute(gone)
            await _append(transaction, record.name, image_id, ImageEvent.COLLECTED)
            return True

    async def purge_history(self, older_than_seconds: float) -> int:
        """Remove changes older than that which no rollback needs, and the records of images collected before that.

        Returns the number of changes.
        """
        async with self._database.write() as transaction:
            await _lock(transaction)
            before = transaction.now - timedelta(seconds=older_than_seconds)
            collected = images.c.collected_at
            gone = set((await transaction.execute(select(images.c.id).where(collected.is_not(None)))).scalars())
            removed = 0
            for of_name in by_name(await _changes(transaction)).values():
                obsolete, links = obsolete_changes(of_name, before, gone)
                former = {change.id: change.former for change in of_name}
                for change_id, target in links.items():
                    if former[change_id] != target:
                        linked = update(image_changes).where(image_changes.c.id == change_id)
                        await transaction.execute(linked.values(former=target))
                for change_id in sorted(obsolete):
                    await transaction.execute(delete(image_changes).where(image_changes.c.id == change_id))
                removed += len(obsolete)
            await transaction.execute(delete(images).where(collected < before))
            return removed


async def _lock(transaction: Transaction) -> None:
    """Lock the catalog until the transaction ends; on SQLite it holds the only write lock."""
    if transaction.connection.dialect.name == "postgresql":
        await transaction.execute(select(func.pg_advisory_xact_lock(_LOCK, 0)))


async def _changes(transaction: Transaction, name: str | None = None) -> tuple[ImageChange, ...]:
    query = _CHANGES if name is None else _CHANGES.where(image_changes.c.name == name)
    return tuple(map(_change_from, (await transaction.execute(query)).all()))


async def _record(transaction: Transaction, image_id: str) -> ImageRecord | None:
    row = (await transaction.execute(select(images).where(images.c.id == image_id))).one_or_none()
    return None if row is None else _record_from(row)


async def _put_record(
    transaction: Transaction,
    name: str,
    image: EngineImage,
    former: ImageRecord | None,
    *,
    retired_at: datetime | None = None,
) -> None:
    """Write the image's whole record; the name of its `former` record stays."""
    row = {
        "id": image.id,
        "name": name if former is None else former.name,
        "manifest": image.manifest.model_dump(mode="json"),
        "size_bytes": image.size_bytes,
        "created_at": image.created_at,
        "retired_at": retired_at,
        "removing_at": None,
        "collected_at": None,
    }
    await put(transaction, images, ("id",), [row])


async def _append(
    transaction: Transaction, name: str, image_id: str, event: ImageEvent, former: int | None = None
) -> None:
    row = {"name": name, "image_id": image_id, "event": event, "at": transaction.now, "former": former}
    await transaction.execute(insert(image_changes).values(row))
    transaction.wake(QUEUE)  # templates and pools follow names


async def _is_used(transaction: Transaction, image_id: str) -> bool:
    """Checkpoints and hibernated machines belong to clusters that are not deleted."""
    of_clusters = select(clusters.c.id).where(tables.LIVING, clusters.c.spec["image_id"].as_string() == image_id)
    of_templates = select(templates.c.id).where(
        templates.c.phase.in_(_USING), templates.c.spec["image_id"].as_string() == image_id
    )
    for query in (of_clusters, of_templates):
        if (await transaction.execute(query.limit(1))).first() is not None:
            return True
    references = select(pools.c.spec["image"].as_string()).where(pools.c.spec["image_id"].as_string() == image_id)
    return _any_fixed((await transaction.execute(references)).scalars())


def _any_fixed(references: Iterable[str | None]) -> bool:
    """A pool that follows a name is filled from what the name stands for now, and not from its first image."""
    return any(reference is not None and is_fixed(reference) for reference in references)


def _change_from(row: Row[Any]) -> ImageChange:
    return ImageChange(row.id, row.name, row.image_id, ImageEvent(row.event), row.at, row.former)


def _record_from(row: Row[Any]) -> ImageRecord:
    fields = ("id", "name", "size_bytes", "created_at", "retired_at", "removing_at", "collected_at")
    same = {name: getattr(row, name) for name in fields}
    return ImageRecord(**same, manifest=ImageManifest.model_validate(row.manifest))
