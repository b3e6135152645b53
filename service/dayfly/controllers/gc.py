"""Garbage collection: removes orphans from the engine, purges old records, and requeues damaged clusters.

Retired images go as well (image_collection.py). The others compare two lists: what the engine has with this
installation's label, and the clusters and templates on record. The engine is asked first: what it shows was created for
an owner that was on record before. Objects of owners that are on record as deleted are removed at once. Objects of
owners that were never on record are removed after a grace period: if two installations share a name by mistake, their
operators can still read the warnings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

import structlog

from dayfly import metrics
from dayfly.clock import Clock
from dayfly.controllers.image_collection import ImageCollector
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.naming import CACHES_OWNER, is_caches_sockets_volume
from dayfly.domain.engine_resource import EngineResource, Orphan
from dayfly.drivers.interfaces import ContainerEngine
from dayfly.errors import DayflyError, Failure
from dayfly.settings import Settings
from dayfly.store import Known, Store
from dayfly.vocabulary import TemplatePhase

_log = structlog.get_logger(__name__)

MOST_EVENTS: Final = 10_000
"""Of a cluster: resets, resumes and its callers' requests make more for as long as it lives. The newest stay."""
_EVENTS_SECONDS: Final = 3600.0
"""Between two counts of all events, which take longer than a sweep, and two purges of names' history."""
_PURGE_BATCH: Final = 500
"""Deleted clusters in one transaction: on SQLite it blocks all other writers."""
_NO_FORKS: Final = frozenset({TemplatePhase.FAILED, TemplatePhase.RETIRED})
"""Phases in which nothing reads a template's volume; a retiring template still has forks that do."""


def find_orphans(
    resources: Sequence[EngineResource],
    known: Collection[Known],
    gone: Collection[str],
    templates: Mapping[str, TemplatePhase],
    *,
    has_caches: bool = False,
) -> tuple[Orphan, ...]:
    """The `resources` without an owner among `known` and `templates`; containers first: they may use the others.

    `gone` are ids of clusters on record as deleted; `templates` are all on record, retired ones included. `has_caches`:
    this installation has registry caches.
    """
    living = {cluster.id: cluster for cluster in known}
    orphans = []
    for resource in resources:
        if resource.cluster_id == CACHES_OWNER:
            orphan = None if has_caches else _of_caches(resource, resources)
        elif resource.template_id and not resource.cluster_id:
            orphan = _of_template(resource, templates.get(resource.template_id))
        else:
            orphan = _of_cluster(resource, living.get(resource.cluster_id), gone)
        # A name alone is no evidence: a volume without labels is an orphan only if its owner is on record as deleted.
        if orphan is not None and (resource.labelled or orphan.on_record):
            orphans.append(orphan)
    return tuple(sorted(orphans, key=lambda orphan: orphan.position))


def _of_template(resource: EngineResource, phase: TemplatePhase | None) -> Orphan | None:
    if phase is None:
        return Orphan(resource, f"no template {resource.template_id} is on record", on_record=False)
    if phase in _NO_FORKS:
        return Orphan(resource, f"template {resource.template_id} is {phase}", on_record=True)
    return None


def _of_caches(resource: EngineResource, resources: Sequence[EngineResource]) -> Orphan | None:
    # Clusters that were created with caches mount the sockets' volume: it cannot be removed before them.
    clusters_run = any(one.kind == "container" and one.cluster_id != CACHES_OWNER for one in resources)
    if clusters_run and resource.kind == "volume" and is_caches_sockets_volume(resource.name):
        return None
    return Orphan(resource, "this installation has no registry caches", on_record=True)


def _of_cluster(resource: EngineResource, owner: Known | None, gone: Collection[str]) -> Orphan | None:
    if owner is None and resource.cluster_id in gone:
        return Orphan(resource, f"cluster {resource.cluster_id} is deleted", on_record=True)
    if owner is None:
        of = f"no cluster {resource.cluster_id} is on record" if resource.cluster_id else "it has no cluster"
        return Orphan(resource, of, on_record=False)
    if owner.phase is Phase.FAILED and not owner.reserved:
        return Orphan(resource, f"cluster {owner.id} failed and was removed", on_record=True)
    # Not a hibernated cluster that is queued for its resumption: its disks are in its containers.
    if owner.phase is Phase.PENDING and not owner.reserved and not owner.begun:
        return Orphan(resource, f"cluster {owner.id} has not begun", on_record=True)
    return None


def find_damaged(resources: Sequence[EngineResource], known: Collection[Known]) -> tuple[str, ...]:
    """The ids of ready clusters of which not every container runs, except those that are to hibernate."""
    running = Counter(h.cluster_id for h in resources if h.kind == "container" and h.running)
    return tuple(
        cluster.id
        for cluster in known
        if cluster.phase is Phase.READY
        and cluster.desired is Desired.PRESENT
        and running[cluster.id] != cluster.containers
    )


class GarbageCollector:
    """Compares the engine with the records."""

    def __init__(
        self, settings: Settings, store: Store, engine: ContainerEngine, images: ImageCollector, clock: Clock
    ) -> None:
        self._settings, self._store, self._engine, self._clock = settings, store, engine, clock
        self._images = images
        self._first_seen: dict[str, float] = {}
        self._events_purged: float | None = None

    async def look(self) -> None:
        """One comparison with its consequences. Raises EngineUnavailable, DatabaseUnavailable."""
        with metrics.measured_sweep("garbage_collection", self._clock):
            await self._sweep()

    async def _sweep(self) -> None:
        # Before the engine is asked, which may be away. Where a backup is in the way, the next sweep does it.
        await self._store.maintenance.erase_deleted()
        resources = await self._engine.list_resources()
        known = await self._store.maintenance.known()
        await self._store.maintenance.requeue(find_damaged(resources, known))
        orphans = await self._without_owner(resources, known)
        for orphan in orphans:
            if self._ripe(orphan):
                await self._try_remove(orphan)
        await self._images.look()
        present = {orphan.resource.id for orphan in orphans}
        self._first_seen = {id_: at for id_, at in self._first_seen.items() if id_ in present}
        history_seconds = self._settings.history_seconds
        while await self._store.maintenance.purge_deleted(history_seconds, _PURGE_BATCH) == _PURGE_BATCH:
            pass
        now = self._clock.monotonic()
        if self._events_purged is None or now - self._events_purged >= _EVENTS_SECONDS:
            self._events_purged = now
            await self._store.maintenance.purge_events(MOST_EVENTS)
            await self._store.images.purge_history(history_seconds)
            await self._store.maintenance.purge_accounts(
                usage_seconds=self._settings.usage_seconds, audit_seconds=self._settings.audit_seconds
            )

    async def orphans(self) -> tuple[Orphan, ...]:
        """All orphans, now. Raises EngineUnavailable."""
        resources = await self._engine.list_resources()
        return await self._without_owner(resources, await self._store.maintenance.known())

    async def remove_orphans(self, orphans: Sequence[Orphan]) -> tuple[Orphan, ...]:
        """Removes these, now; those with an `error` are still there. Raises EngineUnavailable."""
        return tuple([await self._removed(orphan) for orphan in orphans])

    async def _removed(self, orphan: Orphan) -> Orphan:
        try:
            await self.remove(orphan)
        except Failure as error:
            return replace(orphan, error=error.message)
        return orphan

    async def remove(self, orphan: Orphan) -> None:
        """Raises EngineUnavailable, EngineRefused."""
        await self._engine.discard(orphan.resource)
        resource = orphan.resource
        metrics.orphans_removed.labels(resource.kind).inc()
        _log.info("orphan removed", kind=resource.kind, name=resource.name, cluster=resource.cluster_id, why=orphan.why)

    async def _try_remove(self, orphan: Orphan) -> None:
        try:
            await self.remove(orphan)
        except DayflyError as error:
            _log.warning("an orphan cannot be removed yet", name=orphan.resource.name, code=error.code)

    async def _without_owner(self, resources: Sequence[EngineResource], known: Collection[Known]) -> tuple[Orphan, ...]:
        unknown = {resource.cluster_id for resource in resources} - {cluster.id for cluster in known}
        unknown -= {"", CACHES_OWNER}
        gone = await self._store.maintenance.deleted(unknown) if unknown else frozenset()
        has_templates = any(resource.template_id for resource in resources)
        templates = await self._store.templates.known() if has_templates else {}
        has_caches = bool(self._settings.registry_caches)
        return find_orphans(resources, known, gone, templates, has_caches=has_caches)

    def _ripe(self, orphan: Orphan) -> bool:
        if orphan.on_record:
            return True
        now, resource, grace_seconds = self._clock.monotonic(), orphan.resource, self._settings.orphan_grace_seconds
        if resource.id not in self._first_seen:
            self._first_seen[resource.id] = now
            _log.warning(
                "orphan found", kind=resource.kind, name=resource.name, why=orphan.why, removed_in=grace_seconds
            )
        return now - self._first_seen[resource.id] >= grace_seconds
