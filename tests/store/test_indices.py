"""Frequent queries use an index, so that they cost the same with ten thousand clusters.

On SQLite, whose query plans do not depend on parameters; PostgreSQL has the same indices.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import event

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.store import NewCluster, Store
from tests.store.helpers import create
from tests.support.specs import make_spec

QUESTIONS: dict[str, tuple[Callable[[Store], Awaitable[object]], set[str]]] = {
    "by ids": (lambda store: store.maintenance.requeue(["0123456789ab"]), {"sqlite_autoindex_clusters_1"}),
    "by name": (lambda store: store.clusters.get("demo"), {"uq_clusters_living_name"}),
    "a page": (lambda store: store.clusters.list(), {"ix_clusters_living_created_at_id"}),
    "a page of one phase": (
        lambda store: store.clusters.list(phases={Phase.READY}),
        {"ix_clusters_living_created_at_id"},
    ),
    "a page of an owner": (lambda store: store.clusters.list(owner="me"), {"ix_clusters_owner_created_at_id"}),
    "a page of a label": (
        lambda store: store.clusters.list(labels={"a": "b"}),
        {"ix_clusters_living_created_at_id", "sqlite_autoindex_clusters_1", "ix_labels_key_value_cluster_id"},
    ),
    "a page of two labels": (
        lambda store: store.clusters.list(labels={"a": "b", "c": "d"}),
        {"ix_clusters_living_created_at_id", "sqlite_autoindex_clusters_1", "sqlite_autoindex_labels_1"},
    ),
    "the queue": (lambda store: store.admission.queue(), {"ix_clusters_queue", "ix_clusters_reserved"}),
    "clusters by owner": (lambda store: store.statistics.usage(), {"ix_clusters_living_created_at_id"}),
    "leases": (lambda store: store.statistics.count_leases(), {"ix_clusters_lease_expires_at"}),
    "who has a share": (lambda store: store.admission.occupants(), {"ix_clusters_reserved"}),
    "when to look": (
        lambda store: store.leases.seconds_until_due(),
        {"ix_clusters_due_at", "ix_clusters_lease_expires_at"},
    ),
    "a claim": (
        lambda store: store.leases.claim("worker", lease_seconds=60, limit=1),
        {"ix_clusters_due_at", "sqlite_autoindex_clusters_1"},
    ),
    "a member that waits for a caller": (
        lambda store: store.clusters.create(NewCluster(None, make_spec())),
        {"ix_clusters_warm"},
    ),
    "the members of a pool": (lambda store: store.pools.members("0123456789ab"), {"ix_clusters_pool_id"}),
    "the forks of templates": (
        lambda store: store.templates.list(),
        {"ix_clusters_template_id", "ix_templates_recorded_created_at_id"},
    ),
    "a template to fork from": (
        lambda store: store.templates.find("key", "default"),
        {"uq_templates_serving_key", "ix_clusters_template_id"},
    ),
    "templates without forks": (lambda store: store.templates.close(), {"ix_clusters_template_id"}),
    "whom to forget": (lambda store: store.maintenance.purge_deleted(60, limit=10), {"ix_clusters_deleted_at"}),
}


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[Store]:
    opened = await Store.open(sqlite_url)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.mark.parametrize("question", QUESTIONS)
async def test_frequent_queries_use_an_index(store: Store, question: str) -> None:
    await create(store, "demo")
    ask, indices = QUESTIONS[question]
    statements: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        statements.append((statement, parameters))

    event.listen(store._database._engine.sync_engine, "before_cursor_execute", record)
    try:
        await ask(store)
    finally:
        event.remove(store._database._engine.sync_engine, "before_cursor_execute", record)
    plan: list[str] = []
    async with store._database.read() as connection:
        for statement, parameters in statements:
            if " clusters" in statement:
                explained = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                plan += [row.detail for row in explained]
    used = {index for index in indices if any(index in line for line in plan)}
    assert used == indices, plan
    with_history = "ix_clusters_owner_created_at_id"  # of all clusters on record, deleted ones included
    assert with_history in indices or not any(with_history in line for line in plan), plan
    assert not [line for line in plan if line == "SCAN clusters"], plan
