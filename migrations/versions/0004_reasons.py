"""Why a pool is not filled, and which cluster a template failed with.

Expands only: a replica of the release before goes on beside a newer one, and tells neither.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pools", sa.Column("waiting", sa.JSON()))
    op.add_column("templates", sa.Column("failed_cluster", sa.String(12)))


def downgrade() -> None:
    op.drop_column("templates", "failed_cluster")
    op.drop_column("pools", "waiting")
