"""Methods of the client for resets, hibernation, checkpoints, templates and pools.

Not here: clusters themselves (sync_client.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from dayfly.client.checkpoint_models import Checkpoint
from dayfly.client.models import Cluster, Orphan, SizeRequest
from dayfly.client.operations import checkpoints, clusters, pools, templates
from dayfly.client.operations.call import Call, Flow
from dayfly.client.operations.clusters import HIBERNATED_SECONDS
from dayfly.client.pool_models import Period, Pool
from dayfly.client.request_models import IMAGE_SIZES, PoolChanges, PoolRequest, ShapeRequest
from dayfly.client.template_models import Template

T = TypeVar("T")


class SnapshotOperations(ABC):
    """What Client has beside clusters. Methods raise what Client's do."""

    @abstractmethod
    def _send(self, call: Call[T]) -> T: ...

    @abstractmethod
    def _run(self, flow: Flow[T]) -> T: ...

    def reset(self, cluster: str, *, checkpoint: str | None = None) -> Cluster:
        """Back to how it was when it was first ready, or to one of its checkpoints; wait_ready() waits for the end."""
        return self._send(clusters.reset(cluster, checkpoint))

    def hibernate(self, cluster: str) -> Cluster:
        """Put its machines on the disk; wait_hibernated() waits for the end."""
        return self._send(clusters.hibernate(cluster))

    def resume(self, cluster: str) -> Cluster:
        """Let a hibernated one go on where it was; wait_ready() waits for the end."""
        return self._send(clusters.resume(cluster))

    def wait_hibernated(self, cluster: str, *, timeout_seconds: float = HIBERNATED_SECONDS) -> Cluster:
        """Until it is hibernated. Raises ClusterFailed, also where it could not be and is ready, and WaitTimeout."""
        return self._run(clusters.wait_hibernated(cluster, timeout_seconds))

    def create_checkpoint(self, cluster: str, name: str) -> Checkpoint:
        """Ask for its present state to be kept under a name; it is being saved when this returns."""
        return self._send(checkpoints.create_checkpoint(cluster, name))

    def checkpoints(self, cluster: str) -> tuple[Checkpoint, ...]:
        """All of its checkpoints, oldest first."""
        return self._send(checkpoints.checkpoints(cluster))

    def checkpoint(self, cluster: str, name: str) -> Checkpoint:
        """One of its checkpoints."""
        return self._send(checkpoints.checkpoint(cluster, name))

    def delete_checkpoint(self, cluster: str, name: str) -> Checkpoint:
        """Ask for its deletion."""
        return self._send(checkpoints.delete_checkpoint(cluster, name))

    def create_template(
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
        request = ShapeRequest(image, workers, control_plane, worker, readiness, owner)
        return self._send(templates.create_template(request))

    def templates(self, *, owner: str | None = None, retired: bool = False) -> tuple[Template, ...]:
        """Templates of `owner` (None: of all), newest first; retired ones only with `retired`."""
        return self._send(templates.templates(owner, retired=retired))

    def template(self, template_id: str) -> Template:
        """One template."""
        return self._send(templates.template(template_id))

    def delete_template(self, template_id: str) -> Template:
        """Retire it: it serves no new forks, and its forks stay."""
        return self._send(templates.delete_template(template_id))

    def create_pool(
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
        return self._send(pools.create_pool(PoolRequest(*shape, name, size, maximum, schedule, max_age_seconds)))

    def pools(self) -> tuple[Pool, ...]:
        """All pools, by name."""
        return self._send(pools.pools())

    def pool(self, name: str) -> Pool:
        """One pool, by its name or id."""
        return self._send(pools.pool(name))

    def change_pool(
        self,
        name: str,
        *,
        size: int | None = None,
        maximum: int | None = None,
        schedule: Sequence[Period] | None = None,
        max_age_seconds: int | None = None,
    ) -> Pool:
        """Change what is given."""
        return self._send(pools.change_pool(name, PoolChanges(size, maximum, schedule, max_age_seconds)))

    def delete_pool(self, name: str) -> Pool:
        """No pool any more; members that wait are removed, those that became somebody's cluster stay."""
        return self._send(pools.delete_pool(name))

    def orphans(self) -> tuple[Orphan, ...]:
        """What on the engine no living cluster or template owns."""
        return self._send(pools.orphans())

    def remove_orphans(self) -> tuple[Orphan, ...]:
        """Remove all orphans; those with an `error` are still there."""
        return self._send(pools.remove_orphans())
