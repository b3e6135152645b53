"""The table of quotas, as code sees it (tables.py)."""

from __future__ import annotations

from sqlalchemy import Column, Float, String, Table

from dayfly.store.db.tables import metadata
from dayfly.store.db.types import PLAIN_JSON, UtcDateTime

quotas = Table(
    "quotas",
    metadata,
    # A team, or `*`: the installation's default.
    Column("owner", String(63), primary_key=True),
    # Name → limit, or null: without limit. A name that is missing: as the default.
    Column("limits", PLAIN_JSON, nullable=False),
    Column("weight", Float),
    Column("isolation", String(16)),
    Column("updated_at", UtcDateTime, nullable=False),
)
