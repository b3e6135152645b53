"""Finds what nobody owns any more and removes exactly that; forgets what is history; has damaged clusters looked at.

All three compare the same two lists: what the engine has under this installation's label, and which clusters and
templates there are. The engine is asked first: whatever it shows was made for something that was on record before.
Things of what is on record as gone go at once. Things of what was never on record go after a grace period: should two
installations share a name by mistake, somebody can still read the warnings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from dayfly.clock import Clock
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.template import TemplatePhase
from dayfly.drivers.protocols import ContainerEngine, Holding
from dayfly.errors import DayflyError
from dayfly.store import Known, Store

_log = structlog.get_logger(__name__)

_FORGET_AT_ONCE: Final = 500
"""Rows of history in one transaction: nobody else can write on SQLite meanwhile."""
_ORDER: Final = {"container": 0, "network": 1, "volume": 2}
_NO_FORKS: Final = frozenset({TemplatePhase.FAILED, TemplatePhase.GONE})
"""Phases in which nothing is made of a template's volume any more. One that is retired has forks that read it."""


@dataclass(frozen=True)
class Orphan:
    """Something that nobody owns, and how that is known."""

    holding: Holding
    why: str
    on_record: bool
    """Whether the database knows of the cluster, or the template, that it was of."""


def find_orphans(
    holdings: Sequence[Holding],
    known: Collection[Known],
    gone: Collection[str],
    templates: Mapping[str, TemplatePhase],
) -> tuple[Orphan, ...]:
    """What of `holdings` has no owner among `known` and `templates`, containers first: they may use the rest.

    `gone` are ids of clusters on record as deleted; `templates` are all on record, those that are gone among them.
    """
    living = {cluster.id: cluster for cluster in known}
    orphans = []
    for holding in holdings:
        if holding.template_id and not holding.cluster_id:
            orphan = _of_template(holding, templates.get(holding.template_id))
        else:
            orphan = _of_cluster(holding, living.get(holding.cluster_id), gone)
        # A name alone is no evidence: a volume without labels goes only when its owner is on record as gone.
        if orphan is not None and (holding.labelled or orphan.on_record):
            orphans.append(orphan)
    return tuple(sorted(orphans, key=lambda orphan: (_ORDER[orphan.holding.kind], orphan.holding.name)))


def _of_template(holding: Holding, phase: TemplatePhase | None) -> Orphan | None:
    if phase is None:
        return Orphan(holding, f"no template {holding.template_id} is on record", on_record=False)
    if phase in _NO_FORKS:
        return Orphan(holding, f"template {holding.template_id} is {phase}", on_record=True)
    return None


def _of_cluster(holding: Holding, owner: Known | None, gone: Collection[str]) -> Orphan | None:
    if owner is None and holding.cluster_id in gone:
        return Orphan(holding, f"cluster {holding.cluster_id} is deleted", on_record=True)
    if owner is None:
        of = f"no cluster {holding.cluster_id} is on record" if holding.cluster_id else "it is of no cluster"
        return Orphan(holding, of, on_record=False)
    if owner.phase is Phase.FAILED and not owner.reserved:
        return Orphan(holding, f"cluster {owner.id} failed and was cleared away", on_record=True)
    # One that waits to be woken up has begun: its disks are in its containers.
    if owner.phase is Phase.PENDING and not owner.reserved and not owner.begun:
        return Orphan(holding, f"cluster {owner.id} has not begun", on_record=True)
    return None


def find_damaged(holdings: Sequence[Holding], known: Collection[Known]) -> tuple[str, ...]:
    """The ids of ready clusters of which not every container runs. One that is to hibernate stops them by itself."""
    running = Counter(h.cluster_id for h in holdings if h.kind == "container" and h.running)
    return tuple(
        cluster.id
        for cluster in known
        if cluster.phase is Phase.READY
        and cluster.desired is Desired.PRESENT
        and running[cluster.id] != cluster.containers
    )


class GarbageCollector:
    """Compares the world with the records. `grace_seconds` is for things of clusters that were never on record."""

    def __init__(
        self,
        store: Store,
        engine: ContainerEngine,
        clock: Clock,
        *,
        grace_seconds: float,
        history_seconds: float,
    ) -> None:
        self._store, self._engine, self._clock = store, engine, clock
        self._grace_seconds, self._history_seconds = grace_seconds, history_seconds
        self._first_seen: dict[str, float] = {}

    async def look(self) -> None:
        """One comparison, and all that follows from it. Raises DockerUnavailable, DatabaseUnavailable."""
        holdings = await self._engine.survey()
        known = await self._store.known()
        await self._store.requeue(find_damaged(holdings, known))
        orphans = await self._without_owner(holdings, known)
        await self._remove([orphan for orphan in orphans if self._ripe(orphan)])
        self._forget_seen(orphans)
        while await self._store.purge_deleted(self._history_seconds, _FORGET_AT_ONCE) == _FORGET_AT_ONCE:
            pass

    async def orphans(self) -> tuple[Orphan, ...]:
        """What nobody owns, now."""
        holdings = await self._engine.survey()
        return await self._without_owner(holdings, await self._store.known())

    async def remove(self, orphan: Orphan) -> None:
        """Raises DockerUnavailable, EngineRefused."""
        await self._engine.discard(orphan.holding)
        holding = orphan.holding
        _log.info("stray removed", kind=holding.kind, name=holding.name, cluster=holding.cluster_id, why=orphan.why)

    async def _remove(self, orphans: Sequence[Orphan]) -> None:
        for orphan in orphans:
            try:
                await self.remove(orphan)
            except DayflyError as error:
                _log.warning("a stray cannot be removed yet", name=orphan.holding.name, code=error.code)

    async def _without_owner(self, holdings: Sequence[Holding], known: Collection[Known]) -> tuple[Orphan, ...]:
        unknown = {holding.cluster_id for holding in holdings} - {cluster.id for cluster in known} - {""}
        gone = await self._store.deleted(unknown) if unknown else frozenset()
        has_templates = any(holding.template_id for holding in holdings)
        templates = await self._store.known_templates() if has_templates else {}
        return find_orphans(holdings, known, gone, templates)

    def _ripe(self, orphan: Orphan) -> bool:
        if orphan.on_record:
            return True
        now, holding = self._clock.monotonic(), orphan.holding
        if holding.id not in self._first_seen:
            self._first_seen[holding.id] = now
            _log.warning(
                "found a stray", kind=holding.kind, name=holding.name, why=orphan.why, removed_in=self._grace_seconds
            )
        return now - self._first_seen[holding.id] >= self._grace_seconds

    def _forget_seen(self, orphans: Sequence[Orphan]) -> None:
        present = {orphan.holding.id for orphan in orphans}
        self._first_seen = {id_: at for id_, at in self._first_seen.items() if id_ in present}
