"""Updates that callers make to an existing cluster: time to live, labels, hold, add-ons, heartbeats.

Not here: what is allowed (api/ has the limits, and passes them in).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from dayfly.domain.addon import after_request
from dayfly.domain.cluster.model import Cluster, Hold, NewEvent
from dayfly.domain.quota import require_ttl
from dayfly.domain.security.principal import Reference
from dayfly.errors import Conflict
from dayfly.store.clusters import schedule
from dayfly.store.clusters.create import replace_labels
from dayfly.store.clusters.service_clock import MeteredPart
from dayfly.store.commands import UNSET, Change
from dayfly.store.db.database import Transaction
from dayfly.store.db.mapping import addon_columns, cluster_from, hold_columns
from dayfly.store.db.shared_queries import append_events, lock_named, require_active, require_ready, write_cluster
from dayfly.store.notify.commit_notifier import WORK, request_topic
from dayfly.store.quota_checks import quota_of


class ClusterUpdates(MeteredPart):
    async def change(
        self,
        id_or_name: str | Reference,
        change: Change,
        allow: Callable[[Cluster], None] = lambda _: None,
        require: Callable[[Cluster], None] = lambda _: None,
    ) -> Cluster:
        """Apply the update in one transaction, with a `cluster.changed` event; the updated cluster.

        `allow` gets the updated cluster, `require` the cluster before: each raises an error to reject the update.
        Raises NotFound, and Conflict if the cluster is deleted, is being deleted, or is not a caller's. Raises NotReady
        and Conflict for add-ons of a cluster that is not ready, or about to be another. Raises QuotaExceeded.
        """
        async with self._database.write(caller_waits=True) as transaction:
            await self._service_clock.settle(transaction)
            row = await lock_named(transaction, id_or_name)
            old = require_active(row) if change.addons is UNSET else require_ready(row)
            require(old)
            new = _changed(old, change)
            allow(new)
            if change.ttl_seconds is not UNSET:
                require_ttl(new.owner, await quota_of(transaction.connection, new.owner), new.spec.ttl_seconds)
            changes = _describe_changes(old, new)
            if not changes:
                return old
            if old.spec.labels != new.spec.labels:
                await replace_labels(transaction, new)
            values = {
                "spec": new.spec.model_dump(mode="json"),
                "expires_at": new.expires_at,
                "warned_at": new.warned_at,
                "updated_at": transaction.now,
                # A new idle time counts from now.
                **({"active_at": transaction.now} if old.spec.idle_seconds != new.spec.idle_seconds else {}),
                "due_at": _due_after(row, old, new, transaction),
                **addon_columns(new.addons),
                **hold_columns(new.hold),
            }
            append_events(transaction, new.id, NewEvent("cluster.changed", changes))
            transaction.wake(new.id)
            return cluster_from(await write_cluster(transaction, new.id, values))

    async def heartbeat(self, id_or_name: str | Reference) -> Cluster:
        """Extend the expiry by a heartbeat. No event, no notification.

        Raises NotFound, and Conflict if the cluster has no heartbeat interval, is deleted, is being deleted, or is not
        a caller's.
        """
        async with self._database.write(caller_waits=True) as transaction:
            row = await lock_named(transaction, id_or_name)
            old = require_active(row)
            if old.spec.heartbeat_interval_seconds is None:
                raise Conflict(f"cluster {old.name} was created without a heartbeat interval and needs no heartbeat")
            values = schedule.after_heartbeat(row, transaction.now)
            return cluster_from(await write_cluster(transaction, old.id, values))


def _changed(old: Cluster, change: Change) -> Cluster:
    given = {name: value for name, value in vars(change).items() if value is not UNSET}
    hold = given.pop("hold", old.hold)
    given.pop("addons", None)
    new = replace(old, spec=old.spec.model_copy(update=given), hold=hold)
    if change.addons is not UNSET:
        states = after_request(old.addons, change.addons)
        if states != old.addons:
            new = replace(new, spec=new.spec.with_addons(change.addons), addons=states)
    if change.ttl_seconds is UNSET:
        return new
    new = schedule.with_end(new)
    return replace(new, warned_at=None) if _is_later(new.expires_at, old.expires_at) else new


def _is_later(new: datetime | None, old: datetime | None) -> bool:
    return old is not None and (new is None or new > old)


def _due_after(row: Row[Any], old: Cluster, new: Cluster, transaction: Transaction) -> datetime | None:
    """The new `due_at`; wakes workers if it is sooner than before."""
    now = transaction.now
    if old.addons != new.addons:
        due_at: datetime | None = schedule.due_at_once(row.due_at, now)
        # The worker that installs what is not wanted any more stops (controllers/cluster/addons.py).
        transaction.wake(WORK, request_topic(row.id))
    else:
        due_at = schedule.after_change(old, new, row, now)
    if due_at is not None and (row.due_at is None or due_at < row.due_at):
        transaction.wake(WORK)
    return due_at


def _describe_changes(old: Cluster, new: Cluster) -> str:
    """The changed fields as a sentence; empty if no field changed."""
    parts = []
    if old.spec.ttl_seconds != new.spec.ttl_seconds:
        parts.append(f"time to live: {_seconds(old.spec.ttl_seconds)} → {_seconds(new.spec.ttl_seconds)}")
    if old.spec.idle_seconds != new.spec.idle_seconds:
        parts.append(f"hibernate when idle for: {_seconds(old.spec.idle_seconds)} → {_seconds(new.spec.idle_seconds)}")
    if old.addons != new.addons:
        parts.append(f"add-ons: {', '.join(addon.name for addon in new.spec.addons) or 'none'}")
    if old.spec.labels != new.spec.labels:
        parts.append(f"labels: {', '.join(f'{k}={v}' for k, v in sorted(new.spec.labels.items())) or 'none'}")
    if old.hold != new.hold:
        parts.append(describe_hold(new.hold))
    return "; ".join(parts)


def _seconds(span: int | None) -> str:
    return "none" if span is None else f"{span} s"


def describe_hold(hold: Hold | None) -> str:
    if hold is None:
        return "hold released"
    return f"hold until {hold.until:%Y-%m-%d %H:%M:%S} UTC, VMs {hold.vms}: {hold.reason}"
