"""The tables of what was used and who asked for it, which outlive the records of clusters. Not here: any query."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Index, Integer, String, Table

from dayfly.domain.security.principal import MAX_NAME
from dayfly.store.db.tables import metadata
from dayfly.store.db.types import BIG, PLAIN_JSON, SERIAL, UtcDateTime, condition, partial

OPEN: Final = condition("ended_ms IS NULL")
"""Of usage intervals: those that last."""

usage_intervals = Table(
    "usage_intervals",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    # No reference: the record of the cluster is purged before.
    Column("cluster_id", String(12), nullable=False),
    Column("owner", String(63), nullable=False),
    Column("principal", String(MAX_NAME), nullable=False),
    Column("labels", PLAIN_JSON, nullable=False),
    Column("vcpus", Integer, nullable=False),
    Column("memory_mib", Integer, nullable=False),
    Column("disk_gib", Integer, nullable=False),
    # Milliseconds since 1970 on the database's clock: integers, which both databases subtract exactly.
    Column("began_ms", BIG, nullable=False),
    Column("ended_ms", BIG),
    partial("uq_usage_intervals_open_cluster_id", "cluster_id", where=OPEN, unique=True),
    Index("ix_usage_intervals_ended_ms", "ended_ms"),
    sqlite_autoincrement=True,
)

audit = Table(
    "audit",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("at", UtcDateTime, nullable=False),
    Column("principal", String(MAX_NAME), nullable=False),
    # NULL: the request proved no principal.
    Column("team", String(63)),
    Column("role", String(16)),
    Column("address", String(255), nullable=False),
    Column("request_id", String(64), nullable=False),
    # NULL: no route has the request's path and method.
    Column("operation", String(64)),
    Column("target_kind", String(32)),
    Column("target_id", String(128)),
    Column("target_name", String(128)),
    # NULL: no answer was sent.
    Column("status", Integer),
    Column("code", String(64)),
    Index("ix_audit_at", "at"),
    Index("ix_audit_team_id", "team", "id"),
    sqlite_autoincrement=True,
)
