"""The tables of teams and tokens. As tables.py, which has all others."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, ForeignKey, Index, String, Table, Text, UniqueConstraint

from dayfly.domain.security.principal import MAX_NAME
from dayfly.store.db.tables import metadata
from dayfly.store.db.types import UtcDateTime, condition, partial

OPERATORS: Final = condition("role = 'operator'")
"""Of tokens."""

teams = Table(
    "teams",
    metadata,
    Column("id", String(12), primary_key=True),
    # The `owner` of what the team has.
    Column("name", String(63), nullable=False),
    Column("description", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("name"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("team", String(63), ForeignKey("teams.name", ondelete="CASCADE"), nullable=False),
    Column("name", String(63), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("role", String(16), nullable=False),
    Column("description", Text, nullable=False),
    # SHA-256 of the token's text (domain/security/token.py).
    Column("hash", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # The name of the principal that created the token.
    Column("created_by", String(MAX_NAME), nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Index("ix_tokens_team_created_at_id", "team", "created_at", "id"),
    partial("ix_tokens_operators", "created_by", where=OPERATORS),
)
