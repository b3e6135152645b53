"""Recovers clusters whose engine, host or machines went down: the machines boot from their own disks.

Not here: what is damaged (domain/cluster/damage.py), and how steps check what still holds (steps/).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import structlog

from dayfly.controllers.cluster.context import ClusterContext
from dayfly.domain.cluster.damage import Damage, RestartRules, damage
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import NewEvent, Purpose
from dayfly.domain.cluster.topology import ContainerSpec
from dayfly.errors import ContainerExited, ContainerRemoved, DayflyError, EngineRestarted
from dayfly.steps.observe.exit_guard import exit_error
from dayfly.store import Claim

_log = structlog.get_logger(__name__)

_STORY: Final = {
    "restarted": "the engine or its host was restarted: every container is down",
    "exited": "{names} ended by itself",
    "stale": "the network namespace of {names} is gone",
}


class Lost(Exception):
    """A cluster cannot be recovered, or must not be."""

    def __init__(self, error: DayflyError, node: str | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.node = node


@dataclass(frozen=True)
class Recovery:
    """Recovers damaged clusters."""

    context: ClusterContext
    rules: RestartRules

    async def begin(self, claim: Claim) -> Claim | None:
        """None where the ready cluster is intact; else the claim of the cluster, which is provisioning again.

        With back-off, where machines exit repeatedly. Raises Lost, EngineUnavailable.
        """
        found = await self._look(claim)
        if found is None:
            return None
        cluster, store = claim.cluster, self.context.store
        if found.kind == "removed":
            raise self._removed(claim, found)
        # A pool replaces a damaged member.
        if cluster.spec.restart == "never" or cluster.purpose is Purpose.POOL_MEMBER:
            raise await self._not_again(claim, found)
        pause = await self._pause(claim, found)
        words = self._story(found)
        if pause:
            words += f"; started again in {pause:g} s"
        event = NewEvent("cluster.recovering", words, node=self._first_container(claim, found).node)
        _log.info("recovering", cluster=cluster.id, damage=found.kind, containers=found.names)
        fresh = await store.status.set_phase(claim, Phase.PROVISIONING, event=event)
        if pause:
            await self.context.clock.sleep(pause)
        return replace(claim, cluster=fresh)

    async def prepare(self, claim: Claim) -> None:
        """Before a plan runs on existing containers: none may be missing, or run in a stale namespace.

        Raises Lost, EngineUnavailable.
        """
        found = await self._look(claim)
        if found is None:
            return
        self._require_containers(claim, found)
        for name in found.stale:
            # Its namespace no longer exists; started again, the container joins the present one.
            await self.context.drivers.engine.stop(name)

    async def lost_meanwhile(self, claim: Claim) -> bool:
        """Whether a container ended while the plan ran: then another pass is due.

        Counted as a restart. Raises Lost, EngineUnavailable.
        """
        found = await self._look(claim)
        if found is None:
            return False
        self._require_containers(claim, found)
        if pause := await self._pause(claim, found):
            await self.context.clock.sleep(pause)
        return True

    async def dependency_lost(self, claim: Claim, error: DayflyError) -> None:
        """A step failed by `error` because an earlier one does not hold any more. Counted, with back-off.

        Raises Lost, EngineUnavailable.
        """
        if await self.lost_meanwhile(claim):
            return
        cluster = claim.cluster
        pause = self.rules.pause(cluster.restarts, cluster.restarted_at, claim.at)
        if pause is None:
            raise Lost(error)
        await self._count(claim)
        await self.context.clock.sleep(pause)

    async def _look(self, claim: Claim) -> Damage | None:
        seen = await self.context.drivers.engine.list_containers(claim.cluster.id)
        return damage(self.context.topology(claim.cluster), seen)

    async def _pause(self, claim: Claim, found: Damage) -> float:
        """Count a restart; the back-off before it. A restart of the engine does not count.

        Raises Lost when there were too many.
        """
        if found.kind == "restarted":
            return 0.0
        cluster = claim.cluster
        pause = self.rules.pause(cluster.restarts, cluster.restarted_at, claim.at)
        if pause is None:
            raise await self._not_again(claim, found, f" (started again {cluster.restarts} times)")
        await self._count(claim)
        return pause

    async def _count(self, claim: Claim) -> None:
        cluster = claim.cluster
        count = 0 if self.rules.peaceful(cluster.restarted_at, claim.at) else cluster.restarts
        await self.context.store.status.count_restart(claim, count + 1)

    def _require_containers(self, claim: Claim, found: Damage) -> None:
        """Raises Lost where disks, or ports that callers know, are missing: they cannot be created again."""
        cluster = claim.cluster
        if found.kind != "removed" or cluster.ready_at is None:
            return
        if cluster.keeps_disks or self.context.topology(cluster).net.name in found.names:
            raise self._removed(claim, found)

    def _removed(self, claim: Claim, found: Damage) -> Lost:
        names = ", ".join(found.names)
        node = self._first_container(claim, found).node
        return Lost(ContainerRemoved(f"{names} was removed, but not by Dayfly"), node)

    async def _not_again(self, claim: Claim, found: Damage, more: str = "") -> Lost:
        if found.kind == "restarted":
            return Lost(EngineRestarted(self._story(found)))
        if found.kind == "stale":
            return Lost(ContainerExited(self._story(found) + more))
        engine = self.context.drivers.engine
        container = self._first_container(claim, found)
        error = await exit_error(engine, container, await engine.wait_exit(container.name))
        error.message += more
        return Lost(error, container.node)

    @staticmethod
    def _story(found: Damage) -> str:
        return _STORY[found.kind].format(names=", ".join(found.names))

    def _first_container(self, claim: Claim, found: Damage) -> ContainerSpec:
        topology = self.context.topology(claim.cluster)
        containers = (topology.net, topology.registry, *topology.nodes)
        return next(container for container in containers if container.name == found.names[0])
