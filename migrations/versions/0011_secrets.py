"""Encrypts the secrets of clusters, templates and webhooks; the ids of the keys.

The keys are outside of the database (`attributes["secret_ring"]` of alembic's configuration). Older replicas cannot
read these secrets, and what they write is refused: end them first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import context, op

from dayfly.domain.security.envelope import KeyRing, Place, Sealed
from dayfly.errors import SecretsKeyMissing

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_JSON = {"secrets": "cluster_id", "template_secrets": "template_id"}
"""Tables with a column `content`, whose secrets are JSON."""


def upgrade() -> None:
    op.create_table(
        "secret_keys",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("in_force", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_secret_keys"),
    )
    _rewrite(lambda text, place: _ring().seal(text, place, _ring().newest.id).text, json.dumps, str)


def downgrade() -> None:
    _rewrite(lambda text, place: _ring().open(Sealed(text), place), str, json.loads)
    op.drop_table("secret_keys")


def _rewrite(change: Callable[[str, Place], str], as_text: Callable[[Any], str], as_json: Callable[[str], Any]) -> None:
    """Change each secret; `as_text` and `as_json` are for columns of JSON, before and after."""
    connection = op.get_bind()
    for name, key in _JSON.items():
        table = sa.table(name, sa.column(key, sa.String), sa.column("content", sa.JSON))
        for row, content in connection.execute(sa.select(table.c[key], table.c.content)).all():
            changed = as_json(change(as_text(content), Place(name, "content", row)))
            connection.execute(sa.update(table).where(table.c[key] == row).values(content=changed))
    table = sa.table("webhooks", sa.column("id", sa.String), sa.column("secret", sa.Text))
    for row, secret in connection.execute(sa.select(table.c.id, table.c.secret)).all():
        changed = change(secret, Place("webhooks", "secret", row))
        connection.execute(sa.update(table).where(table.c.id == row).values(secret=changed))


def _ring() -> KeyRing:
    ring: KeyRing | None = context.config.attributes.get("secret_ring")
    if ring is None or not ring.keys:
        raise SecretsKeyMissing("the database has secrets, and was opened without keys for them")
    return ring
