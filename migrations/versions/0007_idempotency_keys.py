"""Idempotency keys of requests that create a pool or a template, and no cluster.

Expands only: a replica of the release before goes on beside a newer one, and finds the keys of clusters as before.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("idempotency_keys") as table:
        table.alter_column("cluster_id", existing_type=sa.String(12), nullable=True)
        table.add_column(sa.Column("resource_id", sa.String(12)))


def downgrade() -> None:
    op.execute("DELETE FROM idempotency_keys WHERE cluster_id IS NULL")
    with op.batch_alter_table("idempotency_keys") as table:
        table.drop_column("resource_id")
        table.alter_column("cluster_id", existing_type=sa.String(12), nullable=False)
