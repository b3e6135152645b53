"""The tables, as code sees them; migrations/ makes them, and a test compares the two. Not here: any query.

Times are the database's, in UTC. What a caller filters or a worker orders by is a column; the rest is JSON.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC. SQLite has no time zones: there it is text, in UTC, which sorts as time does."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the store takes aware times only")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class DatabaseNow(FunctionElement[datetime]):
    """The database's clock at this very moment: milliseconds on SQLite, microseconds on PostgreSQL."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(DatabaseNow, "sqlite")
def _sqlite_now(element: DatabaseNow, compiler: SQLCompiler, **_: Any) -> str:  # noqa: ARG001
    return "strftime('%Y-%m-%d %H:%M:%f', 'now')"


@compiles(DatabaseNow, "postgresql")
def _postgresql_now(element: DatabaseNow, compiler: SQLCompiler, **_: Any) -> str:  # noqa: ARG001
    # Not CURRENT_TIMESTAMP: that is when the transaction began, which may have waited for a lock since.
    return "clock_timestamp()"


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
    Index(
        "uq_clusters_living_name",
        "name",
        unique=True,
        sqlite_where=text("phase <> 'deleted'"),
        postgresql_where=text("phase <> 'deleted'"),
    ),
    Index(
        "ix_clusters_due_at",
        "due_at",
        sqlite_where=text("due_at IS NOT NULL"),
        postgresql_where=text("due_at IS NOT NULL"),
    ),
    Index("ix_clusters_created_at_id", "created_at", "id"),
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
