"""Clusters, and what belongs to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_clusters()
    _create_reports()
    op.create_table(
        "labels",
        _cluster_id("labels"),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("value", sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "key", name="pk_labels"),
    )
    op.create_index("ix_labels_key_value_cluster_id", "labels", ["key", "value", "cluster_id"])
    op.create_table(
        "secrets",
        _cluster_id("secrets"),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", name="pk_secrets"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        _cluster_id("idempotency_keys"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_cluster_id", "idempotency_keys", ["cluster_id"])


def downgrade() -> None:
    for table in ("idempotency_keys", "secrets", "labels", "evidence", "events", "steps", "clusters"):
        op.drop_table(table)


def _create_clusters() -> None:
    op.create_table(
        "clusters",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("desired", sa.String(16), nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("endpoints", sa.JSON(), nullable=False),
        sa.Column("fault", sa.JSON()),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("ready_at", _TIME),
        sa.Column("deleted_at", _TIME),
        sa.Column("expires_at", _TIME),
        sa.Column("due_at", _TIME),
        sa.Column("lease_owner", sa.String(255)),
        sa.Column("lease_token", sa.String(32)),
        sa.Column("lease_expires_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_clusters"),
    )
    living, planned = sa.text("phase <> 'deleted'"), sa.text("due_at IS NOT NULL")
    op.create_index(
        "uq_clusters_living_name",
        "clusters",
        ["name"],
        unique=True,
        sqlite_where=living,
        postgresql_where=living,
    )
    op.create_index("ix_clusters_due_at", "clusters", ["due_at"], sqlite_where=planned, postgresql_where=planned)
    op.create_index("ix_clusters_created_at_id", "clusters", ["created_at", "id"])


def _create_reports() -> None:
    op.create_table(
        "steps",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        _cluster_id("steps"),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("node", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("error_code", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_steps"),
        sa.UniqueConstraint("cluster_id", "name", "node", name="uq_steps_cluster_id_name_node"),
    )
    op.create_table(
        "events",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        _cluster_id("events"),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("step", sa.String(64)),
        sa.Column("node", sa.String(64)),
        sa.Column("seconds", sa.Float()),
        sa.Column("code", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_cluster_id_id", "events", ["cluster_id", "id"])
    op.create_table(
        "evidence",
        _cluster_id("evidence"),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "name", name="pk_evidence"),
    )


def _cluster_id(table: str) -> sa.Column[str]:
    owner = sa.ForeignKey("clusters.id", name=f"fk_{table}_cluster_id_clusters", ondelete="CASCADE")
    return sa.Column("cluster_id", sa.String(12), owner, nullable=False)
