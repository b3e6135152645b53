"""The tables of webhooks, as code sees them (tables.py)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint

from dayfly.store.db.tables import metadata
from dayfly.store.db.types import PLAIN_JSON, SERIAL, SealedText, UtcDateTime, condition, partial

UNSENT: Final = condition("state = 'pending'")
"""Of deliveries."""

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("owner", String(63), nullable=False),
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("events", PLAIN_JSON, nullable=False),
    # Signatures are symmetrical: whoever delivers needs the secret itself.
    Column("secret", SealedText, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_reason", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    # The first failed call after the last success.
    Column("failing_since", UtcDateTime),
    Column("succeeded_at", UtcDateTime),
    Index("ix_webhooks_owner_created_at_id", "owner", "created_at", "id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("webhook_id", String(12), ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    # The header `webhook-id`: one for all webhooks and all attempts of an event.
    Column("message_id", String(40), nullable=False),
    Column("type", String(16), nullable=False),
    # The cluster's record may be purged before the delivery's.
    Column("cluster_id", String(12)),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # When the attempts began, or began again on request.
    Column("begun_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("lease_owner", String(255)),
    Column("lease_token", String(32)),
    Column("lease_expires_at", UtcDateTime),
    UniqueConstraint("webhook_id", "message_id"),
    partial("ix_webhook_deliveries_unsent", "webhook_id", "due_at", "id", where=UNSENT),
    Index("ix_webhook_deliveries_webhook_id_created_at_id", "webhook_id", "created_at", "id"),
    Index("ix_webhook_deliveries_ended_at", "ended_at"),
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("delivery_id", String(12), ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("status", Integer),
    Column("error_code", String(64)),
    Column("error", Text),
    # The beginning of the answer, without secrets.
    Column("answer", Text, nullable=False),
    Index("ix_webhook_attempts_delivery_id_id", "delivery_id", "id"),
    sqlite_autoincrement=True,
)
