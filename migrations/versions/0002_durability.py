"""Admission, recovery, holds and heartbeats: what a cluster takes of its host, and what has become of it.

Expands only: a replica of the release before goes on beside a newer one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)

_NODE_OVERHEAD_MIB = 128
_CLUSTER_OVERHEAD_MIB = 64

_PARTIAL_INDICES = (
    ("ix_clusters_living_created_at_id", ["created_at", "id"], "phase <> 'deleted'"),
    ("ix_clusters_lease_expires_at", ["lease_expires_at"], "lease_expires_at IS NOT NULL"),
    ("ix_clusters_queue", ["created_at", "id"], "phase = 'pending' AND admitted_at IS NULL"),
    ("ix_clusters_reserved", ["owner", "vcpus", "memory_mib", "disk_gib"], "reserved"),
    ("ix_clusters_deleted_at", ["deleted_at"], "deleted_at IS NOT NULL"),
)


def upgrade() -> None:
    for column in _columns():
        op.add_column("clusters", column)
    _fill(op.get_bind())
    for name, columns, condition in _PARTIAL_INDICES:
        where = sa.text(condition)
        op.create_index(name, "clusters", columns, sqlite_where=where, postgresql_where=where)
    op.create_index("ix_clusters_owner_created_at_id", "clusters", ["owner", "created_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_clusters_owner_created_at_id", "clusters")
    for name, _, _ in _PARTIAL_INDICES:
        op.drop_index(name, "clusters")
    for column in reversed(_columns()):
        op.drop_column("clusters", column.name)


def _columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("owner", sa.String(63), nullable=False, server_default="default"),
        sa.Column("vcpus", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("memory_mib", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("disk_gib", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("admitted_at", _TIME),
        sa.Column("reserved", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("failed_at", _TIME),
        sa.Column("heartbeat_at", _TIME),
        sa.Column("hold_until", _TIME),
        sa.Column("hold_reason", sa.Text()),
        sa.Column("hold_vms", sa.String(16)),
        sa.Column("warned_at", _TIME),
        sa.Column("restarts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("restarted_at", _TIME),
    )


def _fill(connection: sa.Connection) -> None:
    """What the columns say of clusters that were there before them. Those that wait are admitted by the service."""
    clusters = sa.table(
        "clusters",
        sa.column("id", sa.String),
        sa.column("spec", sa.JSON),
        sa.column("phase", sa.String),
        sa.column("created_at", _TIME),
        sa.column("updated_at", _TIME),
        *(sa.column(column.name, column.type) for column in _columns()),
    )
    for row in connection.execute(sa.select(clusters).where(clusters.c.phase != "deleted")).all():
        values: dict[str, Any] = dict(_needs(row.spec))
        if row.phase != "pending":
            values |= {"admitted_at": row.created_at, "reserved": row.phase != "failed"}
        if row.phase == "failed":
            values["failed_at"] = row.updated_at
        connection.execute(sa.update(clusters).where(clusters.c.id == row.id).values(values))


def _needs(spec: Mapping[str, Any]) -> dict[str, int]:
    """The sum of the nodes' sizes and of what each of them, and the cluster, takes beside."""
    sizes = [spec["control_plane"], *[spec["worker"]] * spec["workers"]]
    memory_mib = sum(size["memory_mib"] + _NODE_OVERHEAD_MIB for size in sizes) + _CLUSTER_OVERHEAD_MIB
    return {
        "vcpus": sum(size["vcpus"] for size in sizes),
        "memory_mib": memory_mib,
        "disk_gib": sum(size["disk_gib"] for size in sizes),
    }
