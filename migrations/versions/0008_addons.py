"""The states of a cluster's add-ons.

Expands only: a replica of the release before goes on beside a newer one, and changes none.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("clusters", sa.Column("addons", sa.JSON()))


def downgrade() -> None:
    op.drop_column("clusters", "addons")
