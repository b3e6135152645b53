"""The catalog of node images: what was promoted, rolled back, retired and collected.

Expands only: a replica of the release before goes on beside a newer one; its clusters are of the tag `latest`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    time = sa.DateTime(timezone=True)
    big = sa.BigInteger()
    op.create_table(
        "images",
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("size_bytes", big.with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("created_at", time, nullable=False),
        sa.Column("retired_at", time),
        sa.Column("removing_at", time),
        sa.Column("collected_at", time),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
    )
    op.create_table(
        "image_changes",
        sa.Column("id", big.with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("image_id", sa.String(128), nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("at", time, nullable=False),
        sa.Column("former", big.with_variant(sa.Integer(), "sqlite")),
        sa.PrimaryKeyConstraint("id", name="pk_image_changes"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_image_changes_name_id", "image_changes", ["name", "id"])


def downgrade() -> None:
    op.drop_table("image_changes")
    op.drop_table("images")
