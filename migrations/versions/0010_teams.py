"""Teams and tokens, usage and audit, room and options of bakes, rebuilds, webhooks.

Names of clusters and pools are unique within a team. Each owner on record becomes a team of that name, and `default`
always exists: templates, idempotency keys and the fair queue count by the owner's name, so that to rename owners would
disturb what runs. Usage counts from this migration on: what clusters have reserved now begins now.

Expands only: a replica of the release before goes on beside a newer one. It finds names as before while no two teams
have the same; its bakes are not counted; what its clusters use is counted once a newer one changes their reservation,
and it records nothing for webhooks.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LIVING = sa.text("phase <> 'deleted'")
_UNENDED = sa.text("ended_at IS NULL AND room_asked_at IS NOT NULL")


def upgrade() -> None:
    _upgrade_access()
    _upgrade_bakes_rest()
    _upgrade_metering()
    _upgrade_webhooks()


def downgrade() -> None:
    _downgrade_webhooks()
    _downgrade_metering()
    _downgrade_bakes_rest()
    _downgrade_access()


def _upgrade_access() -> None:
    _create_teams()
    _create_tokens()
    _change_names(["name", "owner"])


def _create_teams() -> None:
    teams = op.create_table(
        "teams",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_teams"),
        sa.UniqueConstraint("name", name="uq_teams_name"),
    )
    owned = [sa.table(name, sa.column("owner")) for name in ("clusters", "templates", "pools", "bakes")]
    owners = sa.union(*(sa.select(table.c.owner) for table in owned))
    names = {"default", *op.get_bind().execute(owners).scalars()}
    rows = [_team(name) for name in sorted(names)]
    op.bulk_insert(teams, rows)


def _team(name: str) -> dict[str, object]:
    # As store/db/ids.py makes ids: the first character is a digit.
    team_id = f"{secrets.randbelow(10)}{secrets.token_hex(6)[1:]}"
    now = datetime.now(UTC)
    if op.get_bind().dialect.name == "sqlite":
        now = now.replace(tzinfo=None)
    return {"id": team_id, "name": name, "description": "", "created_at": now}


def _create_tokens() -> None:
    team = sa.ForeignKey("teams.name", name="fk_tokens_team_teams", ondelete="CASCADE")
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("team", sa.String(63), team, nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("created_by", sa.String(640), nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sa.Column("last_used_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
    )
    op.create_index("ix_tokens_team_created_at_id", "tokens", ["team", "created_at", "id"])
    operators = sa.text("role = 'operator'")
    op.create_index("ix_tokens_operators", "tokens", ["created_by"], sqlite_where=operators, postgresql_where=operators)


def _change_names(unique: list[str]) -> None:
    op.drop_index("uq_clusters_living_name", "clusters")
    op.create_index(
        "uq_clusters_living_name", "clusters", unique, unique=True, sqlite_where=_LIVING, postgresql_where=_LIVING
    )
    before, after = ("uq_pools_name", "uq_pools_name_owner")[:: 1 if len(unique) > 1 else -1]
    with op.batch_alter_table("pools") as table:
        table.drop_constraint(before, type_="unique")
        table.create_unique_constraint(after, unique)


def _downgrade_access() -> None:
    _change_names(["name"])
    op.drop_table("tokens")
    op.drop_table("teams")


def _upgrade_bakes_rest() -> None:
    for name in ("vcpus", "memory_mib", "disk_gib"):
        op.add_column("bakes", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("bakes", sa.Column("room_asked_at", _TIME))
    op.add_column("bakes", sa.Column("reserved", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("bakes", sa.Column("options", sa.JSON()))
    op.create_table(
        "rebuild_checks",
        sa.Column("recipe", sa.String(128), nullable=False),
        sa.Column("due_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("recipe", name="pk_rebuild_checks"),
    )
    op.create_index("ix_bakes_room", "bakes", ["room_asked_at", "id"], sqlite_where=_UNENDED, postgresql_where=_UNENDED)


def _downgrade_bakes_rest() -> None:
    op.drop_table("rebuild_checks")
    op.drop_index("ix_bakes_room", "bakes")
    for name in ("options", "reserved", "room_asked_at", "disk_gib", "memory_mib", "vcpus"):
        op.drop_column("bakes", name)


def _upgrade_metering() -> None:
    op.add_column("clusters", sa.Column("principal", sa.String(640)))
    _create_usage()
    _create_audit()
    _begin_usage()


def _create_usage() -> None:
    op.create_table(
        "usage_intervals",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("cluster_id", sa.String(12), nullable=False),
        sa.Column("owner", sa.String(63), nullable=False),
        sa.Column("principal", sa.String(640), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("vcpus", sa.Integer(), nullable=False),
        sa.Column("memory_mib", sa.Integer(), nullable=False),
        sa.Column("disk_gib", sa.Integer(), nullable=False),
        sa.Column("began_ms", _SERIAL, nullable=False),
        sa.Column("ended_ms", _SERIAL),
        sa.PrimaryKeyConstraint("id", name="pk_usage_intervals"),
        sqlite_autoincrement=True,
    )
    lasting = sa.text("ended_ms IS NULL")
    op.create_index(
        "uq_usage_intervals_open_cluster_id",
        "usage_intervals",
        ["cluster_id"],
        unique=True,
        sqlite_where=lasting,
        postgresql_where=lasting,
    )
    op.create_index("ix_usage_intervals_ended_ms", "usage_intervals", ["ended_ms"])


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("principal", sa.String(640), nullable=False),
        sa.Column("team", sa.String(63)),
        sa.Column("role", sa.String(16)),
        sa.Column("address", sa.String(255), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("operation", sa.String(64)),
        sa.Column("target_kind", sa.String(32)),
        sa.Column("target_id", sa.String(128)),
        sa.Column("target_name", sa.String(128)),
        sa.Column("status", sa.Integer()),
        sa.Column("code", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_team_id", "audit", ["team", "id"])


def _begin_usage() -> None:
    """As store/db/usage_rows.py does: a hibernated cluster that waits to be resumed has its disk."""
    connection = op.get_bind()
    postgresql = connection.dialect.name == "postgresql"
    clock = "clock_timestamp()" if postgresql else "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    now = connection.execute(sa.select(sa.literal_column(clock, sa.DateTime(timezone=True)))).scalar_one()
    now = now.replace(tzinfo=UTC) if now.tzinfo is None else now
    now_ms = (now - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    amounts = ("vcpus", "memory_mib", "disk_gib")
    columns = [*map(sa.column, ("id", "owner", "phase", *amounts))]
    spec, reserved = sa.column("spec", sa.JSON()), sa.column("reserved", sa.Boolean())
    waits = sa.and_(
        sa.column("phase").in_(["pending", "deleting"]),
        sa.column("admitted_at").is_(None),
        sa.column("ready_at").is_not(None),
    )
    query = sa.select(*columns, spec, reserved).select_from(sa.table("clusters")).where(sa.or_(reserved, waits))
    intervals = [
        {
            "cluster_id": row.id,
            "owner": row.owner,
            "principal": "unauthenticated",
            "labels": row.spec.get("labels") or {},
            "vcpus": row.vcpus if row.reserved else 0,
            "memory_mib": row.memory_mib if row.reserved else 0,
            "disk_gib": row.disk_gib,
            "began_ms": now_ms,
        }
        for row in connection.execute(query).all()
    ]
    if intervals:
        plain = ("cluster_id", "owner", "principal", *amounts, "began_ms")
        table = sa.table("usage_intervals", *map(sa.column, plain), sa.column("labels", sa.JSON()))
        connection.execute(sa.insert(table), intervals)


def _downgrade_metering() -> None:
    op.drop_table("audit")
    op.drop_table("usage_intervals")
    op.drop_column("clusters", "principal")


def _upgrade_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("owner", sa.String(63), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.Text()),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("failing_since", _TIME),
        sa.Column("succeeded_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_index("ix_webhooks_owner_created_at_id", "webhooks", ["owner", "created_at", "id"])
    _create_deliveries()
    op.create_table(
        "quotas",
        sa.Column("owner", sa.String(63), nullable=False),
        sa.Column("limits", sa.JSON(), nullable=False),
        sa.Column("weight", sa.Float()),
        sa.Column("isolation", sa.String(16)),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_quotas"),
    )


def _create_deliveries() -> None:
    webhook = sa.ForeignKey("webhooks.id", name="fk_webhook_deliveries_webhook_id_webhooks", ondelete="CASCADE")
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(12), nullable=False),
        sa.Column("webhook_id", sa.String(12), webhook, nullable=False),
        sa.Column("message_id", sa.String(40), nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("cluster_id", sa.String(12)),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("begun_at", _TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("due_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("lease_owner", sa.String(255)),
        sa.Column("lease_token", sa.String(32)),
        sa.Column("lease_expires_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_deliveries"),
        sa.UniqueConstraint("webhook_id", "message_id", name="uq_webhook_deliveries_webhook_id_message_id"),
    )
    unsent = sa.text("state = 'pending'")
    op.create_index(
        "ix_webhook_deliveries_unsent",
        "webhook_deliveries",
        ["webhook_id", "due_at", "id"],
        sqlite_where=unsent,
        postgresql_where=unsent,
    )
    columns = ["webhook_id", "created_at", "id"]
    op.create_index("ix_webhook_deliveries_webhook_id_created_at_id", "webhook_deliveries", columns)
    op.create_index("ix_webhook_deliveries_ended_at", "webhook_deliveries", ["ended_at"])
    delivery = sa.ForeignKey(
        "webhook_deliveries.id", name="fk_webhook_attempts_delivery_id_webhook_deliveries", ondelete="CASCADE"
    )
    op.create_table(
        "webhook_attempts",
        sa.Column("id", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("delivery_id", sa.String(12), delivery, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("error_code", sa.String(64)),
        sa.Column("error", sa.Text()),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_webhook_attempts"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_webhook_attempts_delivery_id_id", "webhook_attempts", ["delivery_id", "id"])


def _downgrade_webhooks() -> None:
    op.drop_table("quotas")
    op.drop_table("webhook_attempts")
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
