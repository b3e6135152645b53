"""Claims are counted, so that files know a late worker from its successor.

Expands only: a replica of the release before goes on beside a newer one, and counts nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("clusters", sa.Column("fence", _BIG, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("clusters", "fence")
