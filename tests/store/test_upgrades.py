"""Databases of every released revision, with rows that its release wrote, migrate to the present schema.

`released/<revision>.json` holds each table's rows; the code of that release wrote it once, and it is never edited.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Integer, MetaData, func, insert, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Purpose
from dayfly.domain.scheduling.resources import Resources, demand
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.errors import DatabaseUnavailable, IdempotencyKeyReused, NameTaken, SecretsKeyMissing
from dayfly.store import CarriedOut, Change, IdempotencyKey, NewCluster, Store
from dayfly.store.db import migrate
from dayfly.store.db.migrate import configuration
from dayfly.store.db.secret_columns import OF_WEBHOOKS
from dayfly.store.db.stored_names import STEPS, present
from tests.store.helpers import admit_all, move
from tests.support.databases import KEYS
from tests.support.secret_search import Secrets, database_files
from tests.support.specs import make_spec

RELEASED = Path(__file__).with_name("released")
Rows = dict[str, list[dict[str, Any]]]


def revisions() -> list[str]:
    """Oldest first; the last may not be released yet."""
    scripts = ScriptDirectory.from_config(configuration()).walk_revisions()
    return [script.revision for script in scripts][::-1]


def released() -> list[str]:
    return sorted(path.stem for path in RELEASED.glob("*.json"))


def rows_of(revision: str) -> Rows:
    rows: Rows = json.loads((RELEASED / f"{revision}.json").read_text())
    return rows


@pytest.fixture(params=released())
def rows(request: pytest.FixtureRequest) -> Rows:
    """As if they had been written ten minutes ago: leases have run out, times to live have not."""
    found = rows_of(request.param)
    newest = max(datetime.fromisoformat(row["updated_at"]) for row in found["clusters"])
    shift = datetime.now(UTC) - timedelta(minutes=10) - newest
    for row in (row for table in found.values() for row in table):
        for name, value in row.items():
            if name.endswith(("at", "_until")) and isinstance(value, str):
                row[name] = datetime.fromisoformat(value) + shift
    return found


@pytest.fixture
async def old_url(empty_url: str, rows: Rows, request: pytest.FixtureRequest) -> str:
    """The URL of a database of the revision, with its rows."""
    await make_old(empty_url, request.node.callspec.params["rows"], rows)
    return empty_url


async def make_old(url: str, revision: str, rows: Rows) -> None:
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite+aiosqlite:///")).parent.mkdir()

    def make(connection: Connection) -> None:
        command.upgrade(configuration(connection), revision)
        _insert(connection, rows)

    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(make)
    finally:
        await engine.dispose()


def _insert(connection: Connection, rows: Rows) -> None:
    """By the tables as they are in this database, not as today's code knows them."""
    there = MetaData()
    there.reflect(connection)
    sqlite = connection.dialect.name == "sqlite"
    for table in (there.tables[table.name] for table in there.sorted_tables if table.name in rows):
        found = [{name: _stored(value, sqlite=sqlite) for name, value in row.items()} for row in rows[table.name]]
        connection.execute(insert(table), found)
        if not sqlite and isinstance(table.c.get("id", Column()).type, Integer):
            sequence = func.pg_get_serial_sequence(table.name, "id")
            connection.execute(select(func.setval(sequence, max(row["id"] for row in rows[table.name]))))


def _stored(value: object, *, sqlite: bool) -> object:
    """SQLite keeps times in UTC, without saying so."""
    return value.replace(tzinfo=None) if sqlite and isinstance(value, datetime) else value


def test_every_released_revision_has_its_rows() -> None:
    """The newest revision may be unreleased; its release adds its rows here."""
    assert released() == revisions()[: len(released())]
    assert len(revisions()) - len(released()) <= 1


async def test_what_was_written_is_read(old_url: str, rows: Rows) -> None:
    store = await Store.open(old_url, KEYS)
    try:
        everything = await store.clusters.list(phases=set(Phase), purposes=set(Purpose))
        found = {cluster.id: cluster for cluster in everything.clusters}
        assert set(found) == {row["id"] for row in rows["clusters"]}
        for row in rows["clusters"]:
            cluster = found[row["id"]]
            for name in ("name", "phase", "desired", "created_at", "ready_at", "deleted_at", "expires_at"):
                assert getattr(cluster, name) == row[name]
            assert {str(inside): vars(infrastructure) for inside, infrastructure in cluster.endpoints.items()} == row[
                "endpoints"
            ]
            events = [event.id for event in await store.clusters.events(cluster.id)]
            assert events == [event["id"] for event in rows["events"] if event["cluster_id"] == cluster.id]
            steps = [(step.name, step.node or "") for step in await store.clusters.steps(cluster.id)]
            reported = [step for step in rows["steps"] if step["cluster_id"] == cluster.id]
            assert steps == [(present(STEPS, step["name"]), step["node"]) for step in reported]
            evidence = {e["name"]: e["content"] for e in rows["evidence"] if e["cluster_id"] == cluster.id}
            assert await store.clusters.evidence(cluster.id) == evidence
            kept = [secrets["content"] for secrets in rows["secrets"] if secrets["cluster_id"] == cluster.id]
            found_secrets = await store.clusters.secrets(cluster.id)
            assert [ClusterSecrets.model_validate(content) for content in kept] == ([found_secrets] if kept else [])
            assert kept or found_secrets is None
        for label in rows["labels"]:
            wanted = {label["key"]: label["value"]}
            listed = await store.clusters.list(labels=wanted, phases=set(Phase), purposes=set(Purpose))
            assert label["cluster_id"] in {cluster.id for cluster in listed.clusters}
        for key in (key for key in rows["idempotency_keys"] if key["cluster_id"] is not None):
            owner = found[key["cluster_id"]].owner
            made = await store.clusters.find_by_idempotency_key(IdempotencyKey(key["key"], key["fingerprint"], owner))
            assert made == found[key["cluster_id"]]
            with pytest.raises(IdempotencyKeyReused):
                await store.clusters.find_by_idempotency_key(IdempotencyKey(key["key"], "another", owner))
    finally:
        await store.close()


def share(cluster: Cluster) -> Resources:
    """The host resources of a cluster; a hibernated cluster has only its disk."""
    whole = demand(cluster.spec)
    return Resources(disk_gib=whole.disk_gib) if cluster.phase is Phase.HIBERNATED else whole


async def test_what_runs_has_its_share_and_what_waits_is_admitted(old_url: str, rows: Rows) -> None:
    store = await Store.open(old_url, KEYS)
    try:
        clusters = (await store.clusters.list(purposes=set(Purpose))).clusters
        running = {Phase.PROVISIONING, Phase.READY, Phase.DELETING}
        reserved = {row["id"]: row.get("reserved", row["phase"] in running) for row in rows["clusters"]}
        assert {cluster.id: cluster.reserved for cluster in clusters}.items() <= reserved.items()
        queue = await store.admission.queue()
        assert sum(queue.held.values(), Resources()) == sum((share(c) for c in clusters if c.reserved), Resources())
        waiting = [cluster for cluster in clusters if cluster.phase is Phase.PENDING]
        assert [(w.id, w.needs) for w in queue.waiting] == [(c.id, demand(c.spec)) for c in waiting]
        assert await admit_all(store) == tuple(cluster.id for cluster in waiting)
    finally:
        await store.close()


async def test_the_living_are_finished(old_url: str) -> None:
    """Each can be claimed, updated, deleted and purged like a new cluster."""
    store = await Store.open(old_url, KEYS)
    try:
        await admit_all(store)
        living = (await store.clusters.list(purposes=set(Purpose))).clusters
        for cluster in living:
            if cluster.desired is not Desired.ABSENT and cluster.purpose is Purpose.CLUSTER:
                await store.updates.change(cluster.id, Change(ttl_seconds=None, labels={"kept": "no"}))
            await store.lifecycle.delete(cluster.id)
        for _ in living:
            [claim] = await store.leases.claim("worker", lease_seconds=60, limit=1)
            if claim.cluster.phase is not Phase.DELETING:
                await store.status.set_phase(claim, Phase.DELETING)
            await move(store, claim, Phase.DELETED)
        assert await store.maintenance.known() == ()
        everybody = (await store.clusters.list(phases=set(Phase), purposes=set(Purpose))).clusters
        assert await store.maintenance.purge_deleted(-1, limit=100) == len(everybody)
        assert (await store.clusters.list(phases=set(Phase), purposes=set(Purpose))).clusters == ()
    finally:
        await store.close()


async def test_a_replica_of_the_release_keeps_working(old_url: str, rows: Rows) -> None:
    """Inserts of the older version have only the columns that it knows."""
    store = await Store.open(old_url, KEYS)
    try:
        [waiting] = [row for row in rows["clusters"] if row["phase"] == Phase.PENDING]
        late = {**waiting, "id": "0123456789ab", "name": "late"}
        async with store._database.write() as transaction:
            used = {"key": "a", "fingerprint": "f", "cluster_id": late["id"], "created_at": transaction.now}
            await transaction.connection.run_sync(_insert, {"clusters": [late], "idempotency_keys": [used]})
        cluster = await store.clusters.get("late")
        assert await store.clusters.find_by_idempotency_key(IdempotencyKey("a", "f", cluster.owner)) == cluster
        assert (cluster.owner, cluster.reserved, cluster.restarts, cluster.hold) == ("default", False, 0, None)
        assert (cluster.purpose, cluster.template_id) == ("cluster", None)
        assert (cluster.boot_source, cluster.paused) == (None, False)
        assert (await store.admission.queue()).waiting[-1].needs == demand(cluster.spec)
        assert "0123456789ab" in await admit_all(store)
        assert (await store.admission.queue()).waiting == ()
        [occupant] = [o for o in await store.admission.occupants() if o.admitted_at > cluster.created_at][-1:]
        assert occupant.needs == demand(cluster.spec)
        claims = await store.leases.claim("worker", lease_seconds=60, limit=100)
        assert "0123456789ab" in {claim.cluster.id for claim in claims}
    finally:
        await store.close()


@pytest.mark.parametrize("rows", ["0003"], indirect=True)
async def test_what_is_saved_and_kept_warm_is_there_still(old_url: str, rows: Rows) -> None:
    store = await Store.open(old_url, KEYS)
    try:
        [template] = await store.templates.list()
        assert (template.id, template.phase, template.forks) == (rows["templates"][0]["id"], "ready", 1)
        assert await store.templates.secrets(template.id) is not None
        fork = await store.clusters.get("fork")
        assert (fork.template_id, str(fork.reset_to)) == (template.id, "checkpoint:with-data")
        assert [checkpoint.name for checkpoint in await store.checkpoints.list(fork.id)] == ["with-data"]
        [pool] = await store.pools.list()
        assert (pool.name, pool.size, pool.condition) == ("warm", 2, None)
        assert [(one.phase, one.paused) for one in await store.pools.members(pool.id)] == [(Phase.READY, True)] * 2
        assert (await store.lifecycle.resume("asleep")).desired is Desired.PRESENT
    finally:
        await store.close()


@pytest.mark.parametrize("rows", ["0004"], indirect=True)
async def test_conditions_of_pools_and_faults_of_templates_are_kept(old_url: str, rows: Rows) -> None:
    store = await Store.open(old_url, KEYS)
    try:
        [pool] = await store.pools.list()
        assert pool.condition is not None
        assert pool.condition.code == "insufficient_capacity"
        [failed] = [one for one in await store.templates.list() if one.phase == "failed"]
        assert failed.failed_cluster in {row["id"] for row in rows["clusters"]}
    finally:
        await store.close()


@pytest.mark.parametrize("rows", ["0006"], indirect=True)
async def test_keys_of_owners_and_why_a_cluster_is_no_fork_are_kept(old_url: str) -> None:
    store = await Store.open(old_url, KEYS)
    try:
        key = IdempotencyKey("job-17", "f" * 64, "them")
        made = await store.clusters.find_by_idempotency_key(key)
        assert made is not None
        assert (made.name, "another owner" in str(made.not_forked)) == ("unforked", True)
        with pytest.raises(CarriedOut):
            await store.idempotency_keys.require_new(key)
        await store.idempotency_keys.require_new(IdempotencyKey("job-17", "f" * 64))
    finally:
        await store.close()


@pytest.mark.parametrize("rows", ["0007"], indirect=True)
async def test_a_key_of_a_pool_is_kept_and_clusters_have_no_addons(old_url: str) -> None:
    store = await Store.open(old_url, KEYS)
    try:
        [pool] = [one for one in await store.pools.list() if one.name == "evening"]
        with pytest.raises(CarriedOut) as first:
            await store.idempotency_keys.require_new(IdempotencyKey("pool-17", "e" * 64, "them"))
        assert first.value.use.resource_id == pool.id
        everything = (await store.clusters.list(phases=set(Phase), purposes=set(Purpose))).clusters
        assert {one.addons for one in everything} == {()}
    finally:
        await store.close()


@pytest.mark.parametrize("rows", ["0009"], indirect=True)
async def test_bakes_and_the_history_of_images_are_kept(old_url: str, rows: Rows) -> None:
    store = await Store.open(old_url, KEYS)
    try:
        found = (await store.bakes.list()).bakes
        assert {(one.id, one.owner, one.phase) for one in found} == {
            (row["id"], row["owner"], row["phase"]) for row in rows["bakes"]
        }
        [done] = [one for one in found if one.phase == "succeeded"]
        logged = [row["message"] for row in rows["bake_events"] if row["bake_id"] == done.id]
        assert [event.message for event in await store.bakes.events(done.id, after=0, limit=100)] == logged
        with pytest.raises(CarriedOut) as first:
            await store.idempotency_keys.require_new(IdempotencyKey("bake-17", "b" * 64, "them"))
        assert first.value.use.resource_id == done.id
        changes = await store.images.changes("bare")
        assert [change.event for change in changes] == ["promoted", "promoted", "rolled_back", "retired"]
        assert await store.images.is_retired(changes[-1].image_id)
    finally:
        await store.close()


@pytest.mark.parametrize("rows", ["0003", "0010"], indirect=True)
async def test_secrets_are_encrypted_and_nowhere_in_clear(old_url: str, rows: Rows) -> None:
    clear = Secrets()
    for table in ("secrets", "template_secrets"):
        for row in rows[table]:
            clear.add_cluster(f"{table} {row}", ClusterSecrets.model_validate(row["content"]))
    webhooks = {row["id"]: row["secret"] for row in rows.get("webhooks", ())}
    for webhook_id, secret in webhooks.items():
        clear.add(webhook_id, secret)
    file = Path(old_url.partition(":///")[2]) if old_url.startswith("sqlite") else None
    if file is not None:
        assert clear.found_in(database_files(file)), "the test sees nothing"
    store = await Store.open(old_url, KEYS)
    try:
        if file is not None:
            assert clear.found_in(database_files(file)) == []
        for row in rows["template_secrets"]:
            assert await store.templates.secrets(row["template_id"]) == ClusterSecrets.model_validate(row["content"])
        async with store._database.read() as connection:
            sealed = (await connection.execute(select(OF_WEBHOOKS.key, OF_WEBHOOKS.value))).all()
        opened = {row[0]: store._database.secret_keys.open(row[1], OF_WEBHOOKS.place(row[0])) for row in sealed}
        assert opened == webhooks
    finally:
        await store.close()


@pytest.mark.parametrize("rows", ["0010"], indirect=True)
async def test_secrets_are_encrypted_by_who_has_a_key_alone(old_url: str) -> None:
    with pytest.raises(SecretsKeyMissing, match="opened without keys"):
        await Store.open(old_url)
    store = await Store.open(old_url, KEYS)
    await store.close()


async def test_every_owner_is_a_team_afterwards(old_url: str, rows: Rows) -> None:
    store = await Store.open(old_url, KEYS)
    try:
        owned = [row for table in ("clusters", "pools", "templates", "bakes") for row in rows.get(table, ())]
        owners = {row.get("owner", "default") for row in owned}
        assert {team.name for team in await store.teams.list()} == owners | {"default"}
        assert await store.teams.adopt() == ()
        waiting = next(row for row in rows["clusters"] if row["phase"] == Phase.PENDING)
        with pytest.raises(NameTaken):
            await store.clusters.create(NewCluster(waiting["name"], make_spec()))
        await store.clusters.create(NewCluster(waiting["name"], make_spec(), "another"))
    finally:
        await store.close()


@pytest.mark.parametrize("rows", ["0001"], indirect=True)
async def test_a_worker_that_claims_what_waits_gives_it_back_for_good(old_url: str) -> None:
    """Rows from before there was a queue are due while they wait."""
    store = await Store.open(old_url, KEYS)
    try:
        claims = await store.leases.claim("worker", lease_seconds=60, limit=100)
        [waiting] = [claim for claim in claims if claim.cluster.phase is Phase.PENDING]
        await store.leases.release(waiting, due_in_seconds=None)
        again = await store.leases.claim("worker", lease_seconds=60, limit=100)
        assert waiting.cluster.id not in {claim.cluster.id for claim in again}
        assert [w.id for w in (await store.admission.queue()).waiting] == [waiting.cluster.id]
    finally:
        await store.close()


async def test_a_table_that_is_held_keeps_a_migration_waiting_for_a_bounded_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "TABLE_LOCK_SECONDS", 0.2)
    revision = "0004"  # the next migration changes the table
    await make_old(postgres_url, revision, {})
    holder = create_async_engine(postgres_url)
    try:
        async with holder.begin() as connection:
            await connection.execute(text("LOCK TABLE clusters IN ACCESS SHARE MODE"))
            with pytest.raises(DatabaseUnavailable) as refused:
                await Store.open(postgres_url, KEYS)
            assert "lock timeout" in refused.value.operator_detail
            columns = text("SELECT column_name FROM information_schema.columns WHERE table_name = 'clusters'")
            assert "fence" not in set((await connection.execute(columns)).scalars())
            version = await connection.execute(text("SELECT version_num FROM alembic_version"))
            assert version.scalar_one() == revision
    finally:
        await holder.dispose()
    store = await Store.open(postgres_url, KEYS)
    try:
        assert (await store.clusters.create(NewCluster("demo", make_spec())))[1]
    finally:
        await store.close()
