"""Finds what nobody owns any more and removes exactly that; forgets what is history; has damaged clusters looked at.

All three compare the same two lists: what the engine has under this installation's label, and which clusters there
are. The engine is asked first: whatever it shows was made for a cluster that was on record before.
Things of a cluster that is on record as gone go at once. Things of a cluster that was never on record go after a grace
period: should two installations share a name by mistake, somebody can still read the warnings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from dayfly.clock import Clock
from dayfly.domain.lifecycle import Desired, Phase
from dayfly.drivers.protocols import ContainerEngine, Holding
from dayfly.errors import DayflyError
from dayfly.store import Known, Store

_log = structlog.get_logger(__name__)

_FORGET_AT_ONCE: Final = 500
"""Rows of history in one transaction: nobody else can write on SQLite meanwhile."""
_ORDER: Final = {"container": 0, "network": 1, "volume": 2}


@dataclass(frozen=True)
class Stray:
    """Something that nobody owns, and how that is known."""

    holding: Holding
    why: str
    on_record: bool
    """Whether the database knows of the cluster that it was of."""


def find_strays(holdings: Sequence[Holding], known: Collection[Known], gone: Collection[str]) -> tuple[Stray, ...]:
    """What of `holdings` has no owner among `known`, containers first. `gone` are ids on record as deleted."""
    living = {cluster.id: cluster for cluster in known}
    strays = []
    for holding in holdings:
        owner = living.get(holding.cluster_id)
        if owner is None and holding.cluster_id in gone:
            strays.append(Stray(holding, f"cluster {holding.cluster_id} is deleted", on_record=True))
        elif owner is None:
            of = f"no cluster {holding.cluster_id} is on record" if holding.cluster_id else "it is of no cluster"
            strays.append(Stray(holding, of, on_record=False))
        elif owner.phase is Phase.FAILED and not owner.reserved:
            strays.append(Stray(holding, f"cluster {owner.id} failed and was cleared away", on_record=True))
        elif owner.phase is Phase.PENDING and not owner.reserved:
            strays.append(Stray(holding, f"cluster {owner.id} has not begun", on_record=True))
    return tuple(sorted(strays, key=lambda stray: (_ORDER[stray.holding.kind], stray.holding.name)))


def find_damaged(holdings: Sequence[Holding], known: Collection[Known]) -> tuple[str, ...]:
    """The ids of ready clusters of which not every container runs."""
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
        await self._store.nudge(find_damaged(holdings, known))
        strays = find_strays(holdings, known, await self._gone(holdings, known))
        await self._remove([stray for stray in strays if self._ripe(stray)])
        self._forget_seen(strays)
        while await self._store.forget(self._history_seconds, _FORGET_AT_ONCE) == _FORGET_AT_ONCE:
            pass

    async def strays(self) -> tuple[Stray, ...]:
        """What nobody owns, now."""
        holdings = await self._engine.survey()
        known = await self._store.known()
        return find_strays(holdings, known, await self._gone(holdings, known))

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

    async def _gone(self, holdings: Sequence[Holding], known: Collection[Known]) -> frozenset[str]:
        unknown = {holding.cluster_id for holding in holdings} - {cluster.id for cluster in known} - {""}
        return await self._store.deleted(unknown) if unknown else frozenset()

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
