"""A backup that was taken under load and put back: the clusters that run are Dayfly's again, later ones are orphans."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.errors import Conflict, DatabaseInUse, InvalidRequest, NotFound
from dayfly.store import EventFilter, NewCluster, Store
from dayfly.store.db.sqlite_backup import back_up, put_back
from dayfly.store.maintenance import SKIPPED_NUMBERS
from tests.store.helpers import make_ready
from tests.support.databases import KEYS, new_sqlite
from tests.support.postgres import ROLE, PostgresServer
from tests.support.specs import make_spec
from tests.support.world import World


@dataclass(frozen=True)
class Place:
    """A database, how it is backed up, and how the backup is put back in a new place (→ its URL)."""

    url: str
    back_up: Callable[[], None]
    put_back: Callable[[], str]


@pytest.fixture
def sqlite(tmp_path: Path) -> Place:
    database, backup, anew = tmp_path / "dayfly.db", tmp_path / "backup.db", tmp_path / "anew" / "dayfly.db"

    def restored() -> str:
        put_back(backup, anew)
        return f"sqlite+aiosqlite:///{anew}"

    return Place(new_sqlite(database), lambda: back_up(database, backup), restored)


@pytest.fixture
def postgresql(postgres: PostgresServer, server_url: str, tmp_path: Path) -> Iterator[Place]:
    dump = tmp_path / "dump.sql"

    def run(program: str, url: str, *arguments: str | Path) -> None:
        name = url.partition("?")[0].rpartition("/")[2]
        where: list[str | Path] = [f"--host={postgres.folder}", f"--username={ROLE}"]
        argv: list[str | Path] = [postgres.programs / program, *where, *arguments, name]
        subprocess.run(argv, check=True, timeout=120)

    def taken() -> None:
        run("pg_dump", server_url, "--format=custom", f"--file={dump}")

    with postgres.database() as anew:

        def restored() -> str:
            name = anew.partition("?")[0].rpartition("/")[2]
            where: list[str | Path] = [f"--host={postgres.folder}", f"--username={ROLE}", f"--dbname={name}"]
            argv = [postgres.programs / "pg_restore", *where, "--exit-on-error", dump]
            subprocess.run(argv, check=True, timeout=120)
            return anew

        yield Place(server_url, taken, restored)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@asynccontextmanager
async def load(world: World) -> AsyncIterator[None]:
    """Requests and workers write all the time within the block."""
    done = asyncio.Event()

    async def write(number: int) -> None:
        while not done.is_set():
            cluster = await world.create(make_spec(), f"load{number}")
            await world.store.lifecycle.delete(cluster.id)
            await world.until(cluster, Phase.DELETED)

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(write(number))
        await asyncio.sleep(0)
        yield
        done.set()


def containers(world: World, cluster: Cluster) -> dict[str, int]:
    return {name: id(found) for name, found in world.engine.containers.items() if cluster.id in name}


async def test_a_backup_under_load_is_put_back(place: Place) -> None:
    store = await Store.open(place.url, KEYS)
    world = World(store)
    async with world.working():
        kept = [await world.until(await world.create(make_spec(workers=1)), Phase.READY) for _ in range(2)]
        removed = await world.until(await world.create(make_spec(), "removed"), Phase.READY)
        async with load(world):
            await asyncio.to_thread(place.back_up)
        later = await world.until(await world.create(make_spec(), "later"), Phase.READY)
        await world.store.lifecycle.delete(removed.id)
        await world.until(removed, Phase.DELETED)
        # Its volume now knows a claim that the backup does not.
        await world.store.lifecycle.hibernate(kept[1].id)
        await world.until(kept[1], Phase.HIBERNATED)
        await world.store.lifecycle.resume(kept[1].id)
        await world.until(kept[1], Phase.READY)
    secrets, last_event = await store.clusters.secrets(kept[0].id), await store.event_feed.newest()
    before = containers(world, kept[0])
    assert before
    await store.close()

    url = await asyncio.to_thread(place.put_back)
    store = await Store.open(url, KEYS)
    await store.maintenance.skip_numbers()
    again = World(store, engine=world.engine, images=world.images)
    again.machines, again.kube, again.ssh = world.machines, world.kube, world.ssh
    orphans = {orphan.resource.cluster_id for orphan in await again.collector().orphans()}
    assert later.id in orphans
    assert not orphans & {one.id for one in kept}
    collector = again.collector(grace_seconds=600)
    await collector.look()
    assert containers(again, later), "not before the grace period: DAYFLY_ORPHAN_GRACE_SECONDS"
    async with again.working():
        assert (await again.until(removed, Phase.FAILED)).fault is not None
        for one in kept:
            assert (await again.until(one, Phase.READY)).endpoints == one.endpoints
        again.clock.advance(601)
        await collector.look()
        assert not containers(again, later)
        assert containers(again, kept[0]) == before, "it was not touched"
        assert await store.clusters.secrets(kept[0].id) == secrets
        await store.lifecycle.hibernate(kept[1].id)
        await again.until(kept[1], Phase.HIBERNATED)
    missed = (await store.event_feed.page(EventFilter(), after=last_event)).events
    assert "cluster.hibernated" in {one.event.type for one in missed}, "a caller who follows events gets the next ones"
    assert min(one.event.id for one in missed) > SKIPPED_NUMBERS
    await store.close()


async def test_without_its_numbers_a_volume_would_refuse_the_service(sqlite: Place) -> None:
    store = await Store.open(sqlite.url, KEYS)
    await store.clusters.create(NewCluster("demo", make_spec()))
    await store.maintenance.skip_numbers()
    await store.admission.admit(lambda queue: queue.waiting)
    (claim,) = await store.leases.claim("tester", lease_seconds=60, limit=1)
    assert claim.cluster.fence == SKIPPED_NUMBERS + 1
    await store.close()


async def test_ids_are_left_out_where_none_was_used(place: Place) -> None:
    store = await Store.open(place.url, KEYS)
    before = await store.event_feed.newest()
    await store.maintenance.skip_numbers()
    cluster = await make_ready(store)
    assert min(event.id for event in await store.clusters.events(cluster.id)) > before + SKIPPED_NUMBERS
    await store.close()


def test_a_backup_is_its_owners_alone_and_replaces_nothing(tmp_path: Path) -> None:
    database, backup = tmp_path / "dayfly.db", tmp_path / "backup.db"
    with pytest.raises(NotFound):
        back_up(database, backup)
    new_sqlite(database)
    back_up(database, backup)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert {file.name for file in tmp_path.iterdir()} <= {
        *("dayfly.db", "dayfly.db-wal", "dayfly.db-shm", "backup.db"),
        "secrets.key",  # of new_sqlite
    }
    content = backup.read_bytes()
    with pytest.raises(Conflict, match="a backup replaces no file"):
        back_up(database, backup)
    with pytest.raises(Conflict, match=r"dayfly\.db exists: stop the service"):
        put_back(backup, database)
    assert backup.read_bytes() == content


@pytest.mark.parametrize("damage", ["text", "other", "page"])
def test_what_is_no_backup_is_refused_and_leaves_nothing(tmp_path: Path, damage: str) -> None:
    backup, database = tmp_path / "backup.db", tmp_path / "state" / "dayfly.db"
    with pytest.raises(NotFound):
        put_back(backup, database)
    if damage == "text":
        backup.write_text("no database")
    elif damage == "other":
        with sqlite3.connect(backup) as other:
            other.execute("CREATE TABLE notes (text)")
        other.close()
    else:
        new_sqlite(backup)
        with backup.open("r+b") as file:
            file.seek(3 * 4096)
            file.write(b"\xff" * 4096)
    with pytest.raises(InvalidRequest, match=r"backup\.db "):
        put_back(backup, database)
    assert list(database.parent.iterdir()) == []


def _move_away(database: Path) -> None:
    for file in (database, Path(f"{database}-wal"), Path(f"{database}-shm")):
        if file.exists():
            file.rename(file.with_name(f"moved-{file.name}"))


async def test_a_backup_is_not_put_under_a_service_that_runs(tmp_path: Path) -> None:
    database, backup = tmp_path / "dayfly.db", tmp_path / "backup.db"
    store = await Store.open(new_sqlite(database), KEYS)
    back_up(database, backup)
    _move_away(database)
    with pytest.raises(DatabaseInUse):
        put_back(backup, database)
    assert not database.exists()
    await store.close()
