"""Bakes that callers request over HTTP, with their events; the catalog of node images, with its changes.

Expands only: a replica of the release before goes on beside a newer one, and touches none of these tables; its clusters
are of the tag `latest`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_bakes()
    _create_catalog()


def _create_bakes() -> None:
    op.create_table(
        "bakes",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("owner", sa.String(63), nullable=False),
        sa.Column("recipe", sa.String(128), nullable=False),
        sa.Column("variables", sa.JSON(), nullable=False),
        sa.Column("definition", sa.JSON()),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("cancel_requested_at", _TIME),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("image", sa.String(255)),
        sa.Column("image_id", sa.String(255)),
        sa.Column("fault", sa.JSON()),
        sa.Column("evidence", sa.JSON()),
        sa.Column("lease_owner", sa.String(255)),
        sa.Column("lease_token", sa.String(32)),
        sa.Column("lease_expires_at", _TIME),
        sa.Column("lease_host", sa.String(255)),
        sa.PrimaryKeyConstraint("id", name="pk_bakes"),
    )
    unended = sa.text("ended_at IS NULL")
    op.create_index(
        "ix_bakes_unended_created_at_id",
        "bakes",
        ["created_at", "id"],
        sqlite_where=unended,
        postgresql_where=unended,
    )
    op.create_index("ix_bakes_created_at_id", "bakes", ["created_at", "id"])
    op.create_index("ix_bakes_ended_at", "bakes", ["ended_at"])
    owner = sa.ForeignKey("bakes.id", name="fk_bake_events_bake_id_bakes", ondelete="CASCADE")
    op.create_table(
        "bake_events",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("bake_id", sa.String(12), owner, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("step", sa.String(64)),
        sa.Column("seconds", sa.Float()),
        sa.Column("code", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_bake_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_bake_events_bake_id_id", "bake_events", ["bake_id", "id"])


def _create_catalog() -> None:
    op.create_table(
        "images",
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("size_bytes", _SERIAL, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("retired_at", _TIME),
        sa.Column("removing_at", _TIME),
        sa.Column("collected_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
    )
    op.create_table(
        "image_changes",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("image_id", sa.String(128), nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("former", _SERIAL),
        sa.PrimaryKeyConstraint("id", name="pk_image_changes"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_image_changes_name_id", "image_changes", ["name", "id"])


def downgrade() -> None:
    op.drop_table("image_changes")
    op.drop_table("images")
    op.drop_table("bake_events")
    op.drop_table("bakes")
