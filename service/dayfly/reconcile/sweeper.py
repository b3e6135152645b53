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
from dayfly.domain.lifecycle import Desired, Phase
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
class Stray:
    """Something that nobody owns, and how that is known."""

    holding: Holding
    why: str
    on_record: bool
    """Whether the database knows of the cluster, or the template, that it was of."""


def find_strays(
    holdings: Sequence[Holding],
    known: Collection[Known],
    gone: Collection[str],
    templates: Mapping[str, TemplatePhase],
) -> tuple[Stray, ...]:
    """What of `holdings` has no owner among `known` and `templates`, containers first: they may use the rest.

    `gone` are ids of clusters on record as deleted; `templates` are all on record, those that are gone among them.
    """
    living = {cluster.id: cluster for cluster in known}
    strays = []
    for holding in holdings:
        if holding.template_id and not holding.cluster_id:
            stray = _of_template(holding, templates.get(holding.template_id))
        else:
            stray = _of_cluster(holding, living.get(holding.cluster_id), gone)
        # A name alone is no evidence: a volume without labels goes only when its owner is on record as gone.
        if stray is not None and (holding.labelled or stray.on_record):
            strays.append(stray)
    return tuple(sorted(strays, key=lambda stray: (_ORDER[stray.holding.kind], stray.holding.name)))


def _of_template(holding: Holding, phase: TemplatePhase | None) -> Stray | None:
    if phase is None:
        return Stray(holding, f"no template {holding.template_id} is on record", on_record=False)
    if phase in _NO_FORKS:
        return Stray(holding, f"template {holding.template_id} is {phase}", on_record=True)
    return None


def _of_cluster(holding: Holding, owner: Known | None, gone: Collection[str]) -> Stray | None:
    if owner is None and holding.cluster_id in gone:
        return Stray(holding, f"cluster {holding.cluster_id} is deleted", on_record=True)
    if owner is None:
        of = f"no cluster {holding.cluster_id} is on record" if holding.cluster_id else "it is of no cluster"
        return Stray(holding, of, on_record=False)
    if owner.phase is Phase.FAILED and not owner.reserved:
        return Stray(holding, f"cluster {owner.id} failed and was cleared away", on_record=True)
    # One that waits to be woken up has begun: its disks are in its containers.
    if owner.phase is Phase.PENDING and not owner.reserved and not owner.begun:
        return Stray(holding, f"cluster {owner.id} has not begun", on_record=True)
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


class Sweeper:
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
        strays = await self._without_owner(holdings, known)
        await self._remove([stray for stray in strays if self._ripe(stray)])
        self._forget_seen(strays)
        while await self._store.purge_deleted(self._history_seconds, _FORGET_AT_ONCE) == _FORGET_AT_ONCE:
            pass

    async def strays(self) -> tuple[Stray, ...]:
        """What nobody owns, now."""
        holdings = await self._engine.survey()
        return await self._without_owner(holdings, await self._store.known())

    async def remove(self, stray: Stray) -> None:
        """Raises DockerUnavailable, EngineRefused."""
        await self._engine.discard(stray.holding)
        holding = stray.holding
        _log.info("stray removed", kind=holding.kind, name=holding.name, cluster=holding.cluster_id, why=stray.why)

    async def _remove(self, strays: Sequence[Stray]) -> None:
        for stray in strays:
            try:
                await self.remove(stray)
            except DayflyError as error:
                _log.warning("a stray cannot be removed yet", name=stray.holding.name, code=error.code)

    async def _without_owner(self, holdings: Sequence[Holding], known: Collection[Known]) -> tuple[Stray, ...]:
        unknown = {holding.cluster_id for holding in holdings} - {cluster.id for cluster in known} - {""}
        gone = await self._store.deleted(unknown) if unknown else frozenset()
        has_templates = any(holding.template_id for holding in holdings)
        templates = await self._store.known_templates() if has_templates else {}
        return find_strays(holdings, known, gone, templates)

    def _ripe(self, stray: Stray) -> bool:
        if stray.on_record:
            return True
        now, holding = self._clock.monotonic(), stray.holding
        if holding.id not in self._first_seen:
            self._first_seen[holding.id] = now
            _log.warning(
                "found a stray", kind=holding.kind, name=holding.name, why=stray.why, removed_in=self._grace_seconds
            )
        return now - self._first_seen[holding.id] >= self._grace_seconds

    def _forget_seen(self, strays: Sequence[Stray]) -> None:
        present = {stray.holding.id for stray in strays}
        self._first_seen = {id_: at for id_, at in self._first_seen.items() if id_ in present}
