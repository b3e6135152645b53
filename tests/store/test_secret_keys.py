"""Secrets in the database: sealed in every column that has some, and opened by who needs them alone."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text, update

from dayfly.domain.security.envelope import KeyRing, Sealed, SecretKey, new_key
from dayfly.domain.security.secrets import ClusterSecrets, new_secrets
from dayfly.errors import Conflict, NotFound, SecretDamaged, SecretsKeyMissing, SecretsKeyUnusable
from dayfly.store import Store
from dayfly.store.db import tables
from dayfly.store.db.secret_columns import OF_CLUSTERS, SECRET_COLUMNS
from dayfly.store.db.secret_keys import secret_keys
from dayfly.store.db.tables import metadata
from dayfly.store.db.types import SealedText
from dayfly.store.db.webhook_tables import webhooks
from tests.store.helpers import claim_new, make_ready
from tests.support.clock import FakeClock
from tests.support.databases import KEY, KEYS
from tests.support.specs import make_spec
from tests.support.webhooks import SECRET, create


@dataclass
class Keys:
    """Keys that a test can change; how often they were read."""

    keys: list[SecretKey] = field(default_factory=list)
    where: str = "the keys of a test"
    reads: int = 0
    unusable: bool = False

    def read(self, *, make: bool) -> KeyRing:
        self.reads += 1
        if self.unusable:
            raise SecretsKeyUnusable("the file has mode 0644")
        if make and not self.keys:
            self.keys.append(new_key())
        return KeyRing(tuple(self.keys))


async def save(store: Store) -> tuple[str, ClusterSecrets]:
    """A cluster with secrets."""
    claim = await claim_new(store)
    secrets = new_secrets(make_spec(), FakeClock().now())
    await store.status.save_secrets(claim, secrets)
    await store.leases.release(claim, due_in_seconds=None)
    return claim.cluster.id, secrets


def test_a_rotation_knows_every_column_of_secrets() -> None:
    sealed = {column for table in metadata.tables.values() for column in table.c if isinstance(column.type, SealedText)}
    assert {column.value for column in SECRET_COLUMNS} == sealed
    assert all(list(column.table.primary_key) == [column.key] for column in SECRET_COLUMNS)


async def test_what_is_not_encrypted_cannot_be_written(store: Store) -> None:
    cluster_id, _ = await save(store)
    for values in ({"content": "a secret"}, {"content": {"key": "a secret"}}, {"content": None}):
        with pytest.raises(Exception, match="a secret is stored as Sealed") as refused:
            async with store._database.write() as transaction:
                await transaction.execute(update(tables.secrets).values(values))
        assert "a secret'" not in str(refused.value)
    assert await store.clusters.secrets(cluster_id) is not None


async def test_a_secret_in_clear_is_not_read(store: Store) -> None:
    """Who can write into the database can make nobody use a key of his own."""
    (one, secrets), (other, _) = await save(store), await save(store)
    clear = secrets.model_dump_json()
    async with store._database.write() as transaction:
        changed = text("UPDATE secrets SET content = :content WHERE cluster_id = :one")
        await transaction.execute(changed, {"content": clear, "one": one})
    with pytest.raises(SecretDamaged, match=f"secrets.content of {one} is not encrypted"):
        await store.clusters.secrets(one)
    async with store._database.write() as transaction:
        moved = select(tables.secrets.c.content).where(tables.secrets.c.cluster_id == other).scalar_subquery()
        await transaction.execute(update(tables.secrets).values(content=moved))
    assert await store.clusters.secrets(other) is not None
    with pytest.raises(SecretDamaged):
        await store.clusters.secrets(one)


async def test_lists_open_no_secret(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await save(store)
    webhook = await create(store)
    opened: list[Sealed] = []
    monkeypatch.setattr(KeyRing, "open", lambda _, sealed, __: opened.append(sealed))
    await store.clusters.list()
    await store.webhooks.list("default")
    await store.webhooks.get(webhook.id, "default")
    await store.templates.list()
    await make_ready(store)
    await store.webhooks.deliveries(webhook.id)
    assert opened == []


async def test_the_first_start_makes_a_key_and_later_ones_need_it(empty_url: str) -> None:
    keys = Keys()
    store = await Store.open(empty_url, keys)
    [made] = keys.keys
    assert [(key.id, key.in_force) for key in await store.secret_rotation.keys()] == [(made.id, True)]
    cluster_id, secrets = await save(store)
    await store.close()
    for wrong in ([], [new_key()]):
        with pytest.raises(SecretsKeyMissing) as refused:
            await Store.open(empty_url, Keys(wrong))
        for said in (made.id, "the keys of a test", "kubeconfigs", "lost for good", "dayfly secrets abandon"):
            assert said in refused.value.message
        assert refused.value.code == "secrets_key_missing"
    store = await Store.open(empty_url, Keys([new_key(), made]))
    assert await store.clusters.secrets(cluster_id) == secrets
    assert [key.id for key in await store.secret_rotation.keys()] == [made.id], "another key needs a rotation"
    await store.close()


async def test_without_keys_no_secret_is_read_or_written(empty_url: str) -> None:
    store = await Store.open(empty_url, KEYS)
    cluster_id, _ = await save(store)
    await store.close()
    store = await Store.open(empty_url)
    with pytest.raises(SecretsKeyMissing):
        await store.clusters.secrets(cluster_id)
    with pytest.raises(SecretsKeyMissing):
        await create(store)
    assert await store.webhooks.list("default") == ()
    await store.close()


@pytest.mark.parametrize("beside", [True, False])
async def test_a_rotation_while_a_service_runs(url: str, beside: bool) -> None:
    keys = Keys([KEY])
    service = await Store.open(url, keys)
    one, secrets = await save(service)
    webhook = await create(service)
    new = new_key()
    keys.keys.insert(0, new)
    reads = keys.reads
    assert await service.clusters.secrets(one) == secrets
    assert keys.reads == reads, "nothing is read while the keys are known"
    command = await Store.open(url, Keys(list(keys.keys)), beside=True) if beside else service
    await command.secret_rotation.begin(new.id)
    assert await service.clusters.secrets(one) == secrets, "the former key can be read until the end"
    two, _ = await save(service)
    done = await command.secret_rotation.rewrap(new.id)
    assert (done.count, done.damaged) == (2, ()), "what was written since has the new key already"
    await command.secret_rotation.end(new.id)
    if beside:
        await command.close()
    assert [key.id for key in await service.secret_rotation.keys()] == [new.id]
    keys.keys.remove(KEY)
    await service.close()
    store = await Store.open(url, Keys([new]))
    try:
        assert await store.clusters.secrets(one) == secrets
        assert await store.clusters.secrets(two) is not None
        await make_ready(store)
        [claim] = await store.webhook_leases.claim("one", lease_seconds=60, limit=1)
        assert (claim.webhook_id, claim.secret()) == (webhook.id, SECRET)
    finally:
        await store.secret_rotation.begin(KEY.id)  # as other tests expect the database
        await store.close()


async def test_a_rotation_leaves_what_nobody_can_read(store: Store) -> None:
    one, _ = await save(store)
    async with store._database.write() as transaction:
        await transaction.execute(update(tables.secrets).values(content=Sealed("sealed1:nobody:a:b")))
    with pytest.raises(SecretsKeyMissing):
        await store.secret_rotation.rewrap(KEY.id)
    async with store._database.write() as transaction:
        await transaction.execute(update(tables.secrets).values(content=Sealed("clear")))
    done = await store.secret_rotation.rewrap(KEY.id)
    assert (done.count, done.damaged) == (0, (f"secrets.content of {one} is not encrypted",))


async def test_of_two_rotations_the_first_gives_way(store: Store) -> None:
    await store.secret_rotation.begin("another")
    with pytest.raises(Conflict, match="another rotation has begun"):
        await store.secret_rotation.rewrap(KEY.id)
    with pytest.raises(Conflict):
        await store.secret_rotation.end(KEY.id)
    await store.secret_rotation.begin(KEY.id)
    await store.secret_rotation.end(KEY.id)
    assert [key.id for key in await store.secret_rotation.keys()] == [KEY.id]


async def test_a_process_without_the_new_key_waits_for_it(store: Store, url: str) -> None:
    keys = Keys([KEY])
    store._database.secret_keys._source = keys
    new = new_key()
    await store.secret_rotation.begin(new.id)
    with pytest.raises(SecretsKeyMissing, match=new.id):
        await create(store)
    keys.unusable = True
    with pytest.raises(SecretsKeyMissing) as refused:
        await create(store)
    assert "mode 0644" in refused.value.operator_detail
    keys.unusable = False
    keys.keys.insert(0, new)
    await create(store)
    await store.secret_rotation.begin(KEY.id)


async def test_a_secret_that_is_written_during_the_change_of_keys_has_the_new_key(server_url: str) -> None:
    new = new_key()
    here, there = await Store.open(server_url, Keys([new, KEY])), await Store.open(server_url, Keys([new, KEY]))
    try:
        async with here._database.write() as transaction:
            sealed = await transaction.seal("a secret", OF_CLUSTERS.place("1"))
            assert sealed.key_id == KEY.id
            change = asyncio.create_task(there.secret_rotation.begin(new.id))
            late = asyncio.create_task(create(there))
            done, _ = await asyncio.wait({change}, timeout=0.5)
            assert not done, "it waits for the transaction that has sealed"
        await change
        await late
        await create(here)
        async with here._database.read() as connection:
            used = {one.key_id for one in (await connection.execute(select(webhooks.c.secret))).scalars()}
        assert used <= {new.id, KEY.id}
        assert (await there.secret_rotation.rewrap(new.id)).damaged == ()
        async with here._database.read() as connection:
            used = {one.key_id for one in (await connection.execute(select(webhooks.c.secret))).scalars()}
        assert used == {new.id}
    finally:
        await there.secret_rotation.begin(KEY.id)
        await there.close()
        await here.close()


async def test_lost_secrets_are_found_and_given_up(store: Store) -> None:
    cluster_id, _ = await save(store)
    webhook = await create(store)
    lost = await store.secret_rotation.lost([KEY.id])
    assert (lost.clusters, lost.templates, lost.webhooks) == ((cluster_id,), (), (webhook.id,))
    assert await store.secret_rotation.lost(["another"]) == type(lost)((), (), ())
    await store.secret_rotation.abandon(lost, [KEY.id])
    assert (await store.clusters.get(cluster_id)).desired == "absent"
    assert await store.clusters.secrets(cluster_id) is None
    assert await store.webhooks.list("default") == ()
    assert await store.secret_rotation.keys() == ()
    async with store._database.write() as transaction:
        values = {"id": KEY.id, "created_at": transaction.now, "in_force": True}
        await transaction.execute(insert(secret_keys).values(values))


async def test_beside_nothing_is_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(NotFound, match="there is no database"):
            await Store.open(f"sqlite+aiosqlite:///{tmp_path}/dayfly.db", KEYS, beside=True)


def pieces(database: Path, cluster_id: str) -> Iterator[bytes]:
    """Of the sealed secrets of a cluster, such as no other text has."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        [sealed] = connection.execute("SELECT content FROM secrets WHERE cluster_id = ?", (cluster_id,)).fetchone()
    return (sealed[start : start + 40].encode() for start in range(40, len(sealed) - 40, 400))


async def test_deleted_secrets_are_gone_from_the_file_and_its_log(sqlite_url: str) -> None:
    database = Path(sqlite_url.partition(":///")[2])
    store = await Store.open(sqlite_url, KEYS)
    cluster_id, _ = await save(store)
    kept, _ = await save(store)
    gone = list(pieces(database, cluster_id))

    def content(files: str = "dayfly.db*") -> bytes:
        return b"".join(file.read_bytes() for file in database.parent.glob(files))

    assert all(piece in content() for piece in gone), "the test sees nothing"
    assert await store.maintenance.erase_deleted()
    assert all(piece in content("dayfly.db") for piece in gone), "the file itself has them, too"
    async with store._database.write() as transaction:
        await transaction.execute(tables.secrets.delete().where(tables.secrets.c.cluster_id == cluster_id))
    assert any(piece in content() for piece in gone)
    assert await store.maintenance.erase_deleted()
    assert not [piece for piece in gone if piece in content()]
    assert content("dayfly.db-wal") == b""
    assert await store.clusters.secrets(kept) is not None
    await store.close()


async def test_a_reader_of_the_log_is_not_waited_for_long(sqlite_url: str) -> None:
    database = Path(sqlite_url.partition(":///")[2])
    store = await Store.open(sqlite_url, KEYS)
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM clusters").fetchone()
        await save(store)
        assert not await store.maintenance.erase_deleted()
        reader.execute("COMMIT")
    assert await store.maintenance.erase_deleted()
    async with store._database.read() as connection:
        assert (await connection.execute(text("PRAGMA busy_timeout"))).scalar() == 10_000
    await store.close()
