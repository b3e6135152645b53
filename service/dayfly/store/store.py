"""The store's public class: opens, closes and watches. The queries are in its parts."""

from __future__ import annotations

from contextlib import AbstractContextManager

from sqlalchemy import select

from dayfly.clock import BootClock, boot_time
from dayfly.concurrency import uncancellable
from dayfly.store.admission import Admission
from dayfly.store.audit import AuditLog
from dayfly.store.bake_leases import BakeLeases
from dayfly.store.bakes import BakeQueries
from dayfly.store.checkpoints import Checkpoints
from dayfly.store.clusters.leases import Leases
from dayfly.store.clusters.lifecycle_requests import LifecycleRequests
from dayfly.store.clusters.provisioning_status import ProvisioningStatus
from dayfly.store.clusters.queries import ClusterQueries
from dayfly.store.clusters.service_clock import ServiceClock
from dayfly.store.clusters.status_updates import StatusUpdates
from dayfly.store.clusters.template_builds import TemplateBuilds
from dayfly.store.clusters.updates import ClusterUpdates
from dayfly.store.db.database import Database
from dayfly.store.db.secret_keys import KeySource
from dayfly.store.db.types import DatabaseNow
from dayfly.store.event_feed import EventFeed
from dayfly.store.idempotency_keys import IdempotencyKeys
from dayfly.store.image_catalog import ImageCatalog
from dayfly.store.image_use import ImageUses
from dayfly.store.maintenance import Maintenance
from dayfly.store.notify.commit_notifier import BAKES, EVENTS, QUEUE, TOKENS, WEBHOOKS, WORK, Watch, request_topic
from dayfly.store.pools import PoolQueries
from dayfly.store.quotas import Quotas
from dayfly.store.rebuilds import Rebuilds
from dayfly.store.secret_rotation import SecretRotation
from dayfly.store.statistics import Statistics
from dayfly.store.teams import Teams
from dayfly.store.templates import TemplateQueries
from dayfly.store.tokens import Tokens
from dayfly.store.usage import UsageQueries
from dayfly.store.webhook_leases import WebhookLeases
from dayfly.store.webhooks import WebhookQueries


class Store:
    """All that Dayfly knows, by part. Every method of a part may raise DatabaseUnavailable."""

    def __init__(self, database: Database, boot_clock: BootClock = boot_time) -> None:
        self._database = database
        self.service_clock = ServiceClock(database, boot_clock)
        self.idempotency_keys = IdempotencyKeys(database)
        self.clusters = ClusterQueries(database, self.service_clock)
        self.event_feed = EventFeed(database)
        self.updates = ClusterUpdates(database, self.service_clock)
        self.lifecycle = LifecycleRequests(database)
        self.admission = Admission(database, self.service_clock)
        self.leases = Leases(database, self.service_clock)
        self.status = StatusUpdates(database, self.service_clock)
        self.provisioning = ProvisioningStatus(database, self.service_clock)
        self.template_builds = TemplateBuilds(database)
        self.templates = TemplateQueries(database)
        self.checkpoints = Checkpoints(database)
        self.pools = PoolQueries(database)
        self.bakes = BakeQueries(database)
        self.bake_leases = BakeLeases(database)
        self.rebuilds = Rebuilds(database)
        self.quotas = Quotas(database)
        self.webhooks = WebhookQueries(database)
        self.webhook_leases = WebhookLeases(database)
        self.images = ImageCatalog(database)
        self.image_uses = ImageUses(database)
        self.statistics = Statistics(database)
        self.usage = UsageQueries(database, self.service_clock)
        self.audit = AuditLog(database)
        self.maintenance = Maintenance(database)
        self.secret_rotation = SecretRotation(database)
        self.teams = Teams(database)
        self.tokens = Tokens(database)

    @classmethod
    async def open(
        cls, url: str, keys: KeySource | None = None, *, migrating: bool = True, beside: bool = False
    ) -> Store:
        """Connect and migrate the schema. `migrating=False` opens without migrating.

        `keys`: those of the secrets; without, secrets can be neither read nor written. `beside`: beside the service
        that has the SQLite file open; for short transactions, of which no watch of the service is notified.

        `sqlite+aiosqlite:///path` (folder and file are created, modes 0700 and 0600) or `postgresql+asyncpg://…`.
        Raises InvalidRequest for any other URL, DatabaseInUse for a SQLite file that is open already, SecretsKeyMissing
        and SecretsKeyUnusable. The event loop that opens the store must close the store.
        """
        return cls(await Database.open(url, keys, migrating=migrating, beside=beside))

    async def close(self) -> None:
        """Close all connections. May be called again."""
        await self._database.close()

    @uncancellable
    async def ping(self) -> None:
        async with self._database.read() as connection:
            await connection.execute(select(DatabaseNow()))

    def watch(self, cluster_id: str) -> AbstractContextManager[Watch]:
        """`with store.watch(id) as watch:` read, then `await watch.wait(timeout)`: no commit in between is lost.

        The watch sees commits through this store and, on PostgreSQL, commits of every other process.
        """
        return self._database.notifier.watch(cluster_id)

    def watch_requests(self, cluster_id: str) -> AbstractContextManager[Watch]:
        """As `watch`, for the holder of the claim: requests of callers notify, the holder's status updates do not."""
        return self._database.notifier.watch(request_topic(cluster_id))

    def watch_events(self) -> AbstractContextManager[Watch]:
        """As `watch`: an event of any cluster was added."""
        return self._database.notifier.watch(EVENTS)

    def watch_work(self) -> AbstractContextManager[Watch]:
        """As `watch`, for workers: a cluster became due."""
        return self._database.notifier.watch(WORK)

    def watch_queue(self) -> AbstractContextManager[Watch]:
        """As `watch`, for controllers: the queue, the free resources, a template or a pool changed."""
        return self._database.notifier.watch(QUEUE)

    def watch_bakes(self) -> AbstractContextManager[Watch]:
        """As `watch`, for builders: a bake may be taken up."""
        return self._database.notifier.watch(BAKES)

    def watch_tokens(self) -> AbstractContextManager[Watch]:
        """As `watch`: a token was revoked."""
        return self._database.notifier.watch(TOKENS)

    def watch_webhooks(self) -> AbstractContextManager[Watch]:
        """As `watch`, for deliverers: something may be sent to a webhook."""
        return self._database.notifier.watch(WEBHOOKS)
