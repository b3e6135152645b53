"""Templates and their forks, checkpoints, pools: where a cluster comes from, and what it is for.

Expands only: a replica of the release before can go on writing. What it records has no shape: such a cluster waits for
nobody, so nobody looks for it by its shape. (What 0.3.0 records it cannot read: manifests of images changed with it.)
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

_PARTIAL_INDICES = (
    ("ix_clusters_template_id", ["template_id"], "template_id IS NOT NULL AND phase <> 'deleted'"),
    ("ix_clusters_pool_id", ["pool_id"], "pool_id IS NOT NULL AND phase <> 'deleted'"),
    ("ix_clusters_warm", ["shape", "owner", "ready_at"], "purpose = 'member' AND phase = 'ready' AND paused"),
)


def upgrade() -> None:
    for column in _columns():
        op.add_column("clusters", column)
    for name, columns, condition in _PARTIAL_INDICES:
        where = sa.text(condition)
        op.create_index(name, "clusters", columns, sqlite_where=where, postgresql_where=where)
    _create_templates()
    op.create_table(
        "checkpoints",
        _owned("checkpoints", "cluster_id", "clusters"),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("size_bytes", _BIG, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("cluster_id", "name", name="pk_checkpoints"),
    )
    op.create_table(
        "pools",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("owner", sa.String(63), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("maximum", sa.Integer(), nullable=False),
        sa.Column("schedule", sa.JSON(), nullable=False),
        sa.Column("max_age_seconds", sa.Integer(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pools"),
        sa.UniqueConstraint("name", name="uq_pools_name"),
    )


def downgrade() -> None:
    for table in ("pools", "checkpoints", "template_secrets", "templates"):
        op.drop_table(table)
    for name, _, _ in _PARTIAL_INDICES:
        op.drop_index(name, "clusters")
    for column in reversed(_columns()):
        op.drop_column("clusters", column.name)


def _columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("purpose", sa.String(16), nullable=False, server_default="cluster"),
        sa.Column("template_id", sa.String(12)),
        sa.Column("pool_id", sa.String(12)),
        sa.Column("origin", sa.String(64)),
        sa.Column("reset_to", sa.String(64)),
        sa.Column("paused", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("traffic", _BIG, nullable=False, server_default="0"),
        sa.Column("active_at", _TIME),
        sa.Column("shape", sa.String(64)),
    )


def _create_templates() -> None:
    op.create_table(
        "templates",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("owner", sa.String(63), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("builder", sa.String(12), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("ready_at", _TIME),
        sa.Column("last_used_at", _TIME),
        sa.Column("gone_at", _TIME),
        sa.Column("size_bytes", _BIG, nullable=False, server_default="0"),
        sa.Column("uses", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("fault", sa.JSON()),
        sa.PrimaryKeyConstraint("id", name="pk_templates"),
    )
    serving, recorded = sa.text("phase IN ('making', 'verifying', 'ready')"), sa.text("phase <> 'gone'")
    op.create_index(
        "uq_templates_serving_key",
        "templates",
        ["key"],
        unique=True,
        sqlite_where=serving,
        postgresql_where=serving,
    )
    op.create_index(
        "ix_templates_recorded_created_at_id",
        "templates",
        ["created_at", "id"],
        sqlite_where=recorded,
        postgresql_where=recorded,
    )
    op.create_table(
        "template_secrets",
        _owned("template_secrets", "template_id", "templates"),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("template_id", name="pk_template_secrets"),
    )


def _owned(table: str, column: str, owners: str) -> sa.Column[str]:
    owner = sa.ForeignKey(f"{owners}.id", name=f"fk_{table}_{column}_{owners}", ondelete="CASCADE")
    return sa.Column(column, sa.String(12), owner, nullable=False)
