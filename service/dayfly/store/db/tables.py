"""The tables as code sees them; migrations/ creates them, and a test compares the two. Not here: any query.

Times are the database's, in UTC. Whatever is filtered or ordered by is a column; the rest is JSON. The texts below are
the conditions of partial indices: a query that uses such an index repeats the condition word for word, because SQLite
does not look into parameters when it chooses an index. They name stored values (stored_names.py).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from dayfly.domain.security.principal import MAX_NAME
from dayfly.store.db.stored_names import CHECKPOINT_PHASES, CODES, PURPOSES, STEPS, TEMPLATE_PHASES, StoredName
from dayfly.store.db.types import BIG, PLAIN_JSON, SERIAL, SealedJson, UtcDateTime, cluster_id, condition, partial

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    }
)

LIVING: Final = condition("phase <> 'deleted'")
PLANNED: Final = condition("due_at IS NOT NULL")
QUEUED: Final = condition("phase = 'pending' AND admitted_at IS NULL")
RESERVED: Final = condition("reserved")
LEASED: Final = condition("lease_expires_at IS NOT NULL")
UNLEASED: Final = condition("lease_expires_at IS NULL")
GONE: Final = condition("deleted_at IS NOT NULL")
OF_TEMPLATES: Final = condition("template_id IS NOT NULL AND phase <> 'deleted'")
OF_POOLS: Final = condition("pool_id IS NOT NULL AND phase <> 'deleted'")
WARM: Final = condition("purpose = 'member' AND phase = 'ready' AND paused")
"""Members that can be claimed, if they also are unleased and have `desired` present."""
SERVING: Final = condition("phase IN ('making', 'verifying', 'ready')")
"""Of templates; at most one for each key."""
RECORDED: Final = condition("phase <> 'gone'")
"""Of templates."""
UNENDED: Final = condition("ended_at IS NULL")
"""Of bakes: those that are queued or running."""
IN_ADMISSION: Final = condition("ended_at IS NULL AND room_asked_at IS NOT NULL")
"""Of bakes: those whose verification has resources of the host, or waits for them."""

clusters = Table(
    "clusters",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(40), nullable=False),
    Column("spec", PLAIN_JSON, nullable=False),
    Column("desired", String(16), nullable=False),
    Column("phase", String(16), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("endpoints", PLAIN_JSON, nullable=False),
    Column("fault", PLAIN_JSON),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("ready_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    # When a worker reconciles next; NULL: not before a request or an engine event.
    Column("due_at", UtcDateTime),
    Column("lease_owner", String(255)),
    Column("lease_token", String(32)),
    Column("lease_expires_at", UtcDateTime),
    Column("owner", String(63), nullable=False, server_default="default"),
    # Reserved resources of the host (domain/scheduling/resources.py).
    Column("vcpus", Integer, nullable=False, server_default="0"),
    Column("memory_mib", Integer, nullable=False, server_default="0"),
    Column("disk_gib", Integer, nullable=False, server_default="0"),
    Column("admitted_at", UtcDateTime),
    Column("reserved", Boolean, nullable=False, server_default=false()),
    Column("failed_at", UtcDateTime),
    Column("heartbeat_at", UtcDateTime),
    Column("hold_until", UtcDateTime),
    Column("hold_reason", Text),
    Column("hold_vms", String(16)),
    Column("warned_at", UtcDateTime),
    Column("restarts", Integer, nullable=False, server_default="0"),
    Column("restarted_at", UtcDateTime),
    Column("purpose", StoredName(16, PURPOSES), nullable=False, server_default="cluster"),
    Column("template_id", String(12)),
    Column("pool_id", String(12)),
    Column("origin", String(64)),
    Column("reset_to", String(64)),
    Column("paused", Boolean, nullable=False, server_default=false()),
    Column("traffic", BIG, nullable=False, server_default="0"),
    Column("active_at", UtcDateTime),
    # spec.shape, for claims of pool members. NULL: recorded by an older Dayfly.
    Column("shape", String(64)),
    # Number of claims (domain/cluster/fencing.py).
    Column("fence", BIG, nullable=False, server_default="0"),
    Column("not_forked", Text),
    # States of add-ons (domain/addon.py). NULL: none.
    Column("addons", PLAIN_JSON),
    # Who uses the resources (usage_rows.py). NULL: recorded by an older Dayfly.
    Column("principal", String(MAX_NAME)),
    partial("uq_clusters_living_name", "name", "owner", where=LIVING, unique=True),
    partial("ix_clusters_living_created_at_id", "created_at", "id", where=LIVING),
    partial("ix_clusters_due_at", "due_at", where=PLANNED),
    partial("ix_clusters_lease_expires_at", "lease_expires_at", where=LEASED),
    partial("ix_clusters_queue", "created_at", "id", where=QUEUED),
    partial("ix_clusters_reserved", "owner", "vcpus", "memory_mib", "disk_gib", where=RESERVED),
    partial("ix_clusters_deleted_at", "deleted_at", where=GONE),
    partial("ix_clusters_template_id", "template_id", where=OF_TEMPLATES),
    partial("ix_clusters_pool_id", "pool_id", where=OF_POOLS),
    partial("ix_clusters_warm", "shape", "owner", "ready_at", where=WARM),
    Index("ix_clusters_created_at_id", "created_at", "id"),
    Index("ix_clusters_owner_created_at_id", "owner", "created_at", "id"),
)

labels = Table(
    "labels",
    metadata,
    cluster_id(primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("value", String(255), nullable=False),
    Index("ix_labels_key_value_cluster_id", "key", "value", "cluster_id"),
)

steps = Table(
    "steps",
    metadata,
    # Assigned at the first report of a step: the order of the steps' begins.
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    cluster_id(),
    Column("name", StoredName(64, STEPS), nullable=False),
    # "" for a step of the whole cluster: a unique constraint treats NULLs as different.
    Column("node", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("detail", Text, nullable=False),
    Column("error_code", StoredName(64, CODES)),
    UniqueConstraint("cluster_id", "name", "node"),
)

events = Table(
    "events",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    cluster_id(),
    Column("at", UtcDateTime, nullable=False),
    Column("type", String(64), nullable=False),
    Column("message", Text, nullable=False),
    Column("step", StoredName(64, STEPS)),
    Column("node", String(64)),
    Column("seconds", Float),
    Column("code", StoredName(64, CODES)),
    Index("ix_events_cluster_id_id", "cluster_id", "id"),
    sqlite_autoincrement=True,
)

secrets = Table(
    "secrets",
    metadata,
    cluster_id(primary_key=True),
    Column("content", SealedJson, nullable=False),
)

evidence = Table(
    "evidence",
    metadata,
    cluster_id(primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("content", Text, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    # The created cluster, or that of the request's path. NULL: `resource_id` is the created pool or template.
    cluster_id(nullable=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("resource_id", String(12)),
    Index("ix_idempotency_keys_cluster_id", "cluster_id"),
)

templates = Table(
    "templates",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("key", String(64), nullable=False),
    Column("owner", String(63), nullable=False),
    Column("spec", PLAIN_JSON, nullable=False),
    Column("phase", StoredName(16, TEMPLATE_PHASES), nullable=False),
    # The cluster that builds the template; its record may be purged before the template's.
    Column("builder", String(12), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("ready_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Column("gone_at", UtcDateTime),
    Column("size_bytes", BIG, nullable=False, server_default="0"),
    Column("uses", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("fault", PLAIN_JSON),
    # The failed builder or verifying fork, which has the evidence; its record may be purged before the template's.
    Column("failed_cluster", String(12)),
    partial("uq_templates_serving_key", "key", where=SERVING, unique=True),
    partial("ix_templates_recorded_created_at_id", "created_at", "id", where=RECORDED),
)

template_secrets = Table(
    "template_secrets",
    metadata,
    Column("template_id", String(12), ForeignKey("templates.id", ondelete="CASCADE"), primary_key=True, nullable=False),
    Column("content", SealedJson, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    cluster_id(primary_key=True),
    Column("name", String(40), primary_key=True),
    Column("phase", StoredName(16, CHECKPOINT_PHASES), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("size_bytes", BIG, nullable=False, server_default="0"),
)

pools = Table(
    "pools",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("name", String(40), nullable=False),
    Column("owner", String(63), nullable=False),
    Column("spec", PLAIN_JSON, nullable=False),
    Column("size", Integer, nullable=False),
    Column("maximum", Integer, nullable=False),
    Column("schedule", PLAIN_JSON, nullable=False),
    Column("max_age_seconds", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Why the pool is not filled, as a worker reported; NULL: no known reason.
    Column("waiting", PLAIN_JSON),
    UniqueConstraint("name", "owner"),
)

bakes = Table(
    "bakes",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("owner", String(63), nullable=False),
    # The recipe's name; with `definition`, that of the definition.
    Column("recipe", String(128), nullable=False),
    Column("variables", PLAIN_JSON, nullable=False),
    Column("definition", PLAIN_JSON),
    Column("phase", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("cancel_requested_at", UtcDateTime),
    # No builder takes the bake up before this time.
    Column("due_at", UtcDateTime, nullable=False),
    # Claims that began or continued the bake.
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("image", String(255)),
    Column("image_id", String(255)),
    Column("fault", PLAIN_JSON),
    Column("evidence", PLAIN_JSON),
    Column("lease_owner", String(255)),
    Column("lease_token", String(32)),
    Column("lease_expires_at", UtcDateTime),
    # The host of the builder that has the lease: bakes are counted by host.
    Column("lease_host", String(255)),
    # The host's resources for the verification: asked for, and reserved by admission.
    Column("vcpus", Integer, nullable=False, server_default="0"),
    Column("memory_mib", Integer, nullable=False, server_default="0"),
    Column("disk_gib", Integer, nullable=False, server_default="0"),
    Column("room_asked_at", UtcDateTime),
    Column("reserved", Boolean, nullable=False, server_default=false()),
    # Fields of the order beside recipe, variables and definition, where they are set (bake_rows.py).
    Column("options", PLAIN_JSON),
    partial("ix_bakes_unended_created_at_id", "created_at", "id", where=UNENDED),
    partial("ix_bakes_room", "room_asked_at", "id", where=IN_ADMISSION),
    Index("ix_bakes_created_at_id", "created_at", "id"),
    Index("ix_bakes_ended_at", "ended_at"),
)

rebuild_checks = Table(
    "rebuild_checks",
    metadata,
    Column("recipe", String(128), primary_key=True),
    # When a builder looks for news of the recipe next.
    Column("due_at", UtcDateTime, nullable=False),
)

bake_events = Table(
    "bake_events",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("bake_id", String(12), ForeignKey("bakes.id", ondelete="CASCADE"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("type", String(32), nullable=False),
    Column("message", Text, nullable=False),
    # The phase of the work on the image (images/bake.py).
    Column("step", String(64)),
    Column("seconds", Float),
    Column("code", String(64)),
    Index("ix_bake_events_bake_id_id", "bake_id", "id"),
    sqlite_autoincrement=True,
)

images = Table(
    "images",
    metadata,
    # The engine's content id. An image that was never promoted or retired has no row.
    Column("id", String(128), primary_key=True),
    Column("name", String(40), nullable=False),
    Column("manifest", PLAIN_JSON, nullable=False),
    Column("size_bytes", BIG, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("retired_at", UtcDateTime),
    Column("removing_at", UtcDateTime),
    Column("collected_at", UtcDateTime),
)

image_changes = Table(
    "image_changes",
    metadata,
    Column("id", SERIAL, primary_key=True, autoincrement=True),
    Column("name", String(40), nullable=False),
    Column("image_id", String(128), nullable=False),
    Column("event", String(16), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    # The move that a rollback of this one returns to.
    Column("former", BIG),
    Index("ix_image_changes_name_id", "name", "id"),
    sqlite_autoincrement=True,
)

service_clock = Table(
    "service_clock",
    metadata,
    # One row, with id 1 (store/clusters/service_clock.py).
    Column("id", Integer, primary_key=True, autoincrement=False),
    # When an API process last served requests; NULL: no API process has recorded that yet.
    Column("served_at", UtcDateTime),
    # One moment on the database's clock and on the clock of a host that counts from its boot.
    Column("seen_at", UtcDateTime),
    Column("boot_id", String(36)),
    Column("boot_seconds", Float),
    # Sum of all corrected changes of the database's clock.
    Column("jumped_seconds", Float, nullable=False, server_default="0"),
)
