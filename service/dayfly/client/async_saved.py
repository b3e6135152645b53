"""The same for asyncio as sync_saved.py.

Not here: clusters themselves (async_client.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from dayfly.client import saved_calls as saved
from dayfly.client.calls import HIBERNATED_SECONDS, Call, Flow
from dayfly.client.models import Cluster, Orphan, SizeRequest
from dayfly.client.saved_models import Checkpoint, Period, Pool, Template
from dayfly.client.wishes import IMAGE_SIZES, PoolChanges, PoolWish, ShapeWish

T = TypeVar("T")


class SavedStates(ABC):
    """What AsyncClient has beside clusters."""

    @abstractmethod
    async def _send(self, call: Call[T]) -> T: ...

    @abstractmethod
    async def _run(self, flow: Flow[T]) -> T: ...

    async def reset(self, cluster: str, *, checkpoint: str | None = None) -> Cluster:
        """Back to how it was when it was first ready, or to one of its checkpoints; wait_ready() waits for the end."""
        return await self._send(saved.reset(cluster, checkpoint))

    async def hibernate(self, cluster: str) -> Cluster:
        """Put its machines on the disk; wait_hibernated() waits for the end."""
        return await self._send(saved.hibernate(cluster))

    async def resume(self, cluster: str) -> Cluster:
        """Let a hibernated one go on where it was; wait_ready() waits for the end."""
        return await self._send(saved.resume(cluster))

    async def wait_hibernated(self, cluster: str, *, timeout_seconds: float = HIBERNATED_SECONDS) -> Cluster:
        """Until it is hibernated. Raises ClusterFailed, also where it could not be and is ready, and WaitTimeout."""
        return await self._run(saved.wait_hibernated(cluster, timeout_seconds))

    async def create_checkpoint(self, cluster: str, name: str) -> Checkpoint:
        """Ask for its present state to be kept under a name; it is being saved when this returns."""
        return await self._send(saved.create_checkpoint(cluster, name))

    async def checkpoints(self, cluster: str) -> tuple[Checkpoint, ...]:
        """All of its checkpoints, oldest first."""
        return await self._send(saved.checkpoints(cluster))

    async def checkpoint(self, cluster: str, name: str) -> Checkpoint:
        """One of its checkpoints."""
        return await self._send(saved.checkpoint(cluster, name))

    async def delete_checkpoint(self, cluster: str, name: str) -> Checkpoint:
        """Ask for its deletion."""
        return await self._send(saved.delete_checkpoint(cluster, name))

    async def create_template(
        self,
        *,
        image: str,
        workers: int = 0,
        control_plane: SizeRequest = IMAGE_SIZES,
        worker: SizeRequest = IMAGE_SIZES,
        readiness: str | None = None,
        owner: str | None = None,
    ) -> Template:
        """Ask for a template of such clusters, which will be forks of it; where there is one, that one."""
        wish = ShapeWish(image, workers, control_plane, worker, readiness, owner)
        return await self._send(saved.create_template(wish))

    async def templates(self, *, owner: str | None = None, gone: bool = False) -> tuple[Template, ...]:
        """Templates of `owner` (None: of all), newest first; `gone`: also those of which only a record is left."""
        return await self._send(saved.templates(owner, gone=gone))

    async def template(self, template_id: str) -> Template:
        """One template."""
        return await self._send(saved.template(template_id))

    async def delete_template(self, template_id: str) -> Template:
        """No new forks of it; it is gone with the last that there is."""
        return await self._send(saved.delete_template(template_id))

    async def create_pool(
        self,
        name: str,
        *,
        image: str,
        size: int,
        maximum: int | None = None,
        schedule: Sequence[Period] = (),
        max_age_seconds: int | None = None,
        workers: int = 0,
        control_plane: SizeRequest = IMAGE_SIZES,
        worker: SizeRequest = IMAGE_SIZES,
        readiness: str | None = None,
        owner: str | None = None,
    ) -> Pool:
        """Keep `size` such clusters waiting: a create() of the same shape and owner takes one at once, ready."""
        shape = (image, workers, control_plane, worker, readiness, owner)
        return await self._send(saved.create_pool(PoolWish(*shape, name, size, maximum, schedule, max_age_seconds)))

    async def pools(self) -> tuple[Pool, ...]:
        """All pools, by name."""
        return await self._send(saved.pools())

    async def pool(self, name: str) -> Pool:
        """One pool, by its name or id."""
        return await self._send(saved.pool(name))

    async def change_pool(
        self,
        name: str,
        *,
        size: int | None = None,
        maximum: int | None = None,
        schedule: Sequence[Period] | None = None,
        max_age_seconds: int | None = None,
    ) -> Pool:
        """Change what is given."""
        return await self._send(saved.change_pool(name, PoolChanges(size, maximum, schedule, max_age_seconds)))

    async def delete_pool(self, name: str) -> Pool:
        """No pool any more; members that wait are removed, those that became somebody's cluster stay."""
        return await self._send(saved.delete_pool(name))

    async def orphans(self) -> tuple[Orphan, ...]:
        """What on the engine no living cluster or template owns."""
        return await self._send(saved.orphans())

    async def remove_orphans(self) -> tuple[Orphan, ...]:
        """Remove all orphans; those with an `error` are still there."""
        return await self._send(saved.remove_orphans())
