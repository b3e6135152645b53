"""The tables, as code sees them; migrations/ makes them, and a test compares the two. Not here: any query.

Times are the database's, in UTC. What a caller filters or a worker orders by is a column; the rest is JSON.
The texts below are the conditions of partial indices: a query that uses such an index repeats the condition word for
word, because SQLite does not look into parameters when it chooses an index.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    literal_column,
    text,
)
from sqlalchemy.sql.elements import ColumnElement

from dayfly.store.columns import UtcDateTime

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    }
)

_serial = BigInteger().with_variant(Integer(), "sqlite")
_json = JSON(none_as_null=True)


def _cluster_id(*, primary_key: bool = False) -> Column[str]:
    owner = ForeignKey("clusters.id", ondelete="CASCADE")
    return Column("cluster_id", String(12), owner, primary_key=primary_key, nullable=False)


def _condition(sql: str) -> ColumnElement[bool]:
    # Without a type: SQLAlchemy would compare it with 1 on SQLite, and no index says that.
    return literal_column(sql)


LIVING: Final = _condition("phase <> 'deleted'")
PLANNED: Final = _condition("due_at IS NOT NULL")
QUEUED: Final = _condition("phase = 'pending' AND admitted_at IS NULL")
RESERVED: Final = _condition("reserved")
LEASED: Final = _condition("lease_expires_at IS NOT NULL")
UNLEASED: Final = _condition("lease_expires_at IS NULL")
GONE: Final = _condition("deleted_at IS NOT NULL")


def _partial(name: str, *columns: str, where: ColumnElement[bool], unique: bool = False) -> Index:
    condition = text(str(where))
    return Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


clusters = Table(
    "clusters",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(40), nullable=False),
    Column("spec", _json, nullable=False),
    Column("desired", String(16), nullable=False),
    Column("phase", String(16), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("endpoints", _json, nullable=False),
    Column("fault", _json),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("ready_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    # When a worker should look next; NULL: not before somebody wants something.
    Column("due_at", UtcDateTime),
    Column("lease_owner", String(255)),
    Column("lease_token", String(32)),
    Column("lease_expires_at", UtcDateTime),
    Column("owner", String(63), nullable=False, server_default="default"),
    # What it takes of its host (domain/capacity.py).
    Column("vcpus", Integer, nullable=False, server_default="0"),
    Column("memory_mib", Integer, nullable=False, server_default="0"),
    Column("disk_gib", Integer, nullable=False, server_default="0"),
    Column("admitted_at", UtcDateTime),
    Column("reserved", Boolean, nullable=False, server_default=false()),
    Column("failed_at", UtcDateTime),
    Column("heartbeat_at", UtcDateTime),
    Column("hold_until", UtcDateTime),
    Column("hold_reason", Text),
    Column("hold_vms", String(16)),
    Column("warned_at", UtcDateTime),
    Column("restarts", Integer, nullable=False, server_default="0"),
    Column("restarted_at", UtcDateTime),
    _partial("uq_clusters_living_name", "name", where=LIVING, unique=True),
    _partial("ix_clusters_living_created_at_id", "created_at", "id", where=LIVING),
    _partial("ix_clusters_due_at", "due_at", where=PLANNED),
    _partial("ix_clusters_lease_expires_at", "lease_expires_at", where=LEASED),
    _partial("ix_clusters_queue", "created_at", "id", where=QUEUED),
    _partial("ix_clusters_reserved", "owner", "vcpus", "memory_mib", "disk_gib", where=RESERVED),
    _partial("ix_clusters_deleted_at", "deleted_at", where=GONE),
    Index("ix_clusters_created_at_id", "created_at", "id"),
    Index("ix_clusters_owner_created_at_id", "owner", "created_at", "id"),
)

labels = Table(
    "labels",
    metadata,
    _cluster_id(primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("value", String(255), nullable=False),
    Index("ix_labels_key_value_cluster_id", "key", "value", "cluster_id"),
)

steps = Table(
    "steps",
    metadata,
    # Grows with the first report of a step: the order in which steps began.
    Column("id", _serial, primary_key=True, autoincrement=True),
    _cluster_id(),
    Column("name", String(64), nullable=False),
    # "" for a step of the whole cluster: NULLs are never equal, so a unique constraint would not hold.
    Column("node", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("detail", Text, nullable=False),
    Column("error_code", String(64)),
    UniqueConstraint("cluster_id", "name", "node"),
)

events = Table(
    "events",
    metadata,
    Column("id", _serial, primary_key=True, autoincrement=True),
    _cluster_id(),
    Column("at", UtcDateTime, nullable=False),
    Column("type", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("step", String(64)),
    Column("node", String(64)),
    Column("seconds", Float),
    Column("code", String(64)),
    Index("ix_events_cluster_id_id", "cluster_id", "id"),
    sqlite_autoincrement=True,
)

secrets = Table(
    "secrets",
    metadata,
    _cluster_id(primary_key=True),
    Column("content", _json, nullable=False),
)

evidence = Table(
    "evidence",
    metadata,
    _cluster_id(primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("content", Text, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    _cluster_id(),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_idempotency_keys_cluster_id", "cluster_id"),
)
