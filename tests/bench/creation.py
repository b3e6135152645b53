"""How long creation takes: one cluster after the other on an idle service, and very many at once; and their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from datetime import datetime

from sqlalchemy import select

from dayfly.domain.lifecycle import Phase
from dayfly.store import Store, tables
from tests.bench.figures import Figures, spread
from tests.bench.fleet import Fleet
from tests.bench.lean_http import Connection, connected
from tests.bench.process import IMAGE
from tests.bench.records import count

WISH = {
    "image": IMAGE,
    "workers": {"count": 1},
    "labels": {"team": "bench"},
    "ttl_seconds": 24 * 3600,
}
GIVE_UP_SECONDS = 540.0
_WARM_UP = 5
_LOOK_SECONDS = 0.1


async def one_by_one(fleet: Fleet, store: Store, rounds: int) -> Figures:
    """From POST to the first step's event, each time on an otherwise idle service.

    `first_step`: until the client can read that event. `first_step_in_database`: between the two rows' times.
    """
    posts, seen, between, ready = [], [], [], []
    async with connected(fleet.port) as http:
        for turn in range(_WARM_UP + rounds):
            began = time.monotonic()
            answer = await http.request("POST", "/v1/clusters", WISH, expect=202)
            made = await store.get_cluster(answer.json()["id"])
            event = await _event(store, made.id, "step.started")
            noticed = time.monotonic() - began
            await _until_ready(store, made.id)
            if turn >= _WARM_UP:
                posts.append(answer.seconds)
                seen.append(noticed)
                between.append((event - made.created_at).total_seconds())
                ready.append(time.monotonic() - began)
    return {
        **spread("alone_post", posts),
        **spread("alone_first_step", seen),
        **spread("alone_first_step_in_database", between),
        **spread("alone_ready", ready),
    }


async def at_once(fleet: Fleet, store: Store, clusters: int, callers: int) -> Figures:
    """`clusters` POSTs by `callers` connections, as fast as they are answered, until the last is ready."""
    before = (await count(store)).get(Phase.READY, 0)
    used, began = fleet.cpu_seconds(), time.monotonic()
    taken = await _all(fleet, callers, (("POST", "/v1/clusters", WISH) for _ in range(clusters)))
    posted = time.monotonic() - began
    await _until_phases(fleet, store, lambda phases: phases.get(Phase.READY, 0) == before + clusters)
    seconds = time.monotonic() - began
    return {
        **spread("burst_post", taken),
        "burst_posted_s": posted,
        "burst_all_ready_s": seconds,
        "burst_creations_per_s": clusters / seconds,
        **await _waits(store, clusters),
        **_cpu("burst", used, fleet.cpu_seconds(), clusters),
    }


async def end_all(fleet: Fleet, store: Store, callers: int) -> Figures:
    """DELETE for every living cluster at once, until the last is gone."""
    condition = select(tables.clusters.c.id).where(tables.LIVING)
    async with store._database.read() as connection:
        ids = list((await connection.execute(condition)).scalars())
    used, began = fleet.cpu_seconds(), time.monotonic()
    taken = await _all(fleet, callers, (("DELETE", f"/v1/clusters/{one}", None) for one in ids))
    await _until_phases(fleet, store, lambda phases: set(phases) == {Phase.DELETED})
    seconds = time.monotonic() - began
    return {
        **spread("end_delete", taken),
        "end_all_deleted_s": seconds,
        "end_deletions_per_s": len(ids) / seconds,
        **_cpu("end", used, fleet.cpu_seconds(), len(ids)),
    }


async def _all(fleet: Fleet, callers: int, requests: Iterator[tuple[str, str, object]]) -> list[float]:
    """The seconds that each took."""
    taken: list[float] = []

    async def call(http: Connection) -> None:
        for method, path, body in requests:
            taken.append((await http.request(method, path, body, expect=202)).seconds)

    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(fleet.port)) for _ in range(callers)]
        await _together(call(http) for http in connections)
    return taken


async def _together(calls: Iterator[Awaitable[None]]) -> None:
    await asyncio.gather(*calls)


async def _event(store: Store, cluster_id: str, type_: str) -> datetime:
    """When the first event of that type was written, once it is."""
    async with asyncio.timeout(GIVE_UP_SECONDS):
        with store.watch(cluster_id) as watch:
            while True:
                for event in await store.events(cluster_id):
                    if event.type == type_:
                        return event.at
                await watch.wait(1)


async def _until_ready(store: Store, cluster_id: str) -> None:
    async with asyncio.timeout(GIVE_UP_SECONDS):
        with store.watch(cluster_id) as watch:
            while (await store.get_cluster(cluster_id)).phase is not Phase.READY:
                await watch.wait(1)


async def _until_phases(fleet: Fleet, store: Store, wanted: Callable[[Mapping[Phase, int]], bool]) -> None:
    async with asyncio.timeout(GIVE_UP_SECONDS):
        while not wanted(await count(store)):
            fleet.check()
            await asyncio.sleep(_LOOK_SECONDS)


async def _waits(store: Store, clusters: int) -> Figures:
    """Of the latest clusters: how long they waited to be admitted, and to be ready, by the database's clock."""
    columns = tables.clusters.c
    query = select(columns.created_at, columns.admitted_at, columns.ready_at).order_by(columns.created_at.desc())
    async with store._database.read() as connection:
        rows = (await connection.execute(query.limit(clusters))).all()
    return {
        **spread("burst_admitted", [(row.admitted_at - row.created_at).total_seconds() for row in rows]),
        **spread("burst_ready", [(row.ready_at - row.created_at).total_seconds() for row in rows]),
    }


def _cpu(name: str, before: Mapping[str, float], after: Mapping[str, float], clusters: int) -> Figures:
    """What one cluster cost each process, in milliseconds of a core."""
    return {f"{name}_cpu_{who}_ms_each": 1000 * (after[who] - before[who]) / clusters for who in after}
