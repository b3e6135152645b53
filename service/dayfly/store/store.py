"""The store's public class: opens, closes and watches. All else is in the classes that it is composed of."""

from __future__ import annotations

from contextlib import AbstractContextManager

from sqlalchemy import select

from dayfly.concurrency import uncancellable
from dayfly.store.admission import Admission
from dayfly.store.checkpoints import Checkpoints
from dayfly.store.clusters.lifecycle_requests import LifecycleRequests
from dayfly.store.clusters.provisioning_status import ProvisioningStatus
from dayfly.store.clusters.queries import ClusterQueries
from dayfly.store.clusters.status_updates import StatusUpdates
from dayfly.store.clusters.template_builds import TemplateBuilds
from dayfly.store.clusters.updates import ClusterUpdates
from dayfly.store.db.database import Database
from dayfly.store.db.types import DatabaseNow
from dayfly.store.maintenance import Maintenance
from dayfly.store.notify.commit_notifier import QUEUE, WORK, Watch, request_topic
from dayfly.store.pools import PoolQueries
from dayfly.store.statistics import Statistics
from dayfly.store.templates import TemplateQueries


class Store(
    ClusterQueries,
    ClusterUpdates,
    LifecycleRequests,
    Admission,
    StatusUpdates,
    ProvisioningStatus,
    TemplateQueries,
    TemplateBuilds,
    Checkpoints,
    PoolQueries,
    Statistics,
    Maintenance,
):
    """All that Dayfly knows. Every method may raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def open(cls, url: str) -> Store:
        """Connect, bring the schema up to date, and be ready.

        `sqlite+aiosqlite:///path` (folder and file are made, modes 0700 and 0600) or `postgresql+asyncpg://…`.
        Raises InvalidRequest for any other URL, DatabaseInUse for a SQLite file that is open already. Close it in the
        event loop that opened it.
        """
        return cls(await Database.open(url))

    async def close(self) -> None:
        """Give all connections back. May be called again."""
        await self._database.close()

    @uncancellable
    async def ping(self) -> None:
        """One round trip."""
        async with self._database.read() as connection:
            await connection.execute(select(DatabaseNow()))

    def watch(self, cluster_id: str) -> AbstractContextManager[Watch]:
        """`with store.watch(id) as watch:` look, then `await watch.wait(timeout)`: no commit in between is lost.

        Seen are commits through this store and, on PostgreSQL, those of every other process.
        """
        return self._database.notifier.watch(cluster_id)

    def watch_requests(self, cluster_id: str) -> AbstractContextManager[Watch]:
        """As `watch`, for who has the claim: callers want something else. Its own reports wake it not."""
        return self._database.notifier.watch(request_topic(cluster_id))

    def watch_work(self) -> AbstractContextManager[Watch]:
        """As `watch`, for workers: something became due."""
        return self._database.notifier.watch(WORK)

    def watch_queue(self) -> AbstractContextManager[Watch]:
        """As `watch`, for admission: the queue changed, or the room."""
        return self._database.notifier.watch(QUEUE)
