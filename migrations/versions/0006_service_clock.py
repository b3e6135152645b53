"""One row about time itself: when callers could last be heard, and by how much the wall clock was ever set. And of a
cluster, why it is made from its image and not from a template.

Expands only: a replica of the release before goes on beside a newer one, and neither reads nor writes what is new.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "service_clock",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("served_at", sa.DateTime(timezone=True)),
        sa.Column("seen_at", sa.DateTime(timezone=True)),
        sa.Column("boot_id", sa.String(36)),
        sa.Column("boot_seconds", sa.Float()),
        sa.Column("jumped_seconds", sa.Float(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_service_clock"),
    )
    op.add_column("clusters", sa.Column("not_forked", sa.Text()))


def downgrade() -> None:
    op.drop_column("clusters", "not_forked")
    op.drop_table("service_clock")
